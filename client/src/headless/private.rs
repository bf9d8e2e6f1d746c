//! What a headless call does about direct legs.

use std::time::Duration;

use duocast_model::{DirectConsent, Exposure};
use tokio::time::Instant;

use super::{Options, Progress};
use crate::call::Call;
use crate::session::{CallInfo, DirectEnd, DirectPhase};

/// What is news: the way media goes, what became known, whether the other party asks.
type News = (DirectPhase, Option<Exposure>, Option<DirectEnd>, bool);

pub(super) struct Privacy {
    wants_direct: bool,
    private_after: Option<Duration>,
    direct_since: Option<Instant>,
    /// A yes was sent, and the server has not answered it with a state.
    is_saying: bool,
    told: Option<News>,
}

impl Privacy {
    pub(super) fn new(options: &Options) -> Self {
        let Options { direct, go_private_after, .. } = *options;
        Self {
            wants_direct: direct,
            private_after: go_private_after,
            direct_since: None,
            is_saying: false,
            told: None,
        }
    }

    pub(super) fn follow(
        &mut self,
        call: &Call,
        info: &CallInfo,
        on_progress: &mut (impl FnMut(Progress) + Send),
    ) {
        let Some(direct) = info.direct else { return };
        let news = (direct.phase, info.own_exposure, direct.last_end, direct.is_asked());
        if self.told.replace(news) != Some(news) {
            on_progress(Progress::Privacy(Box::new(info.clone())));
        }
        if direct.phase == DirectPhase::Active {
            self.direct_since.get_or_insert_with(Instant::now);
        }
        if direct.own_consent == DirectConsent::NotGiven && self.wants_direct && !self.is_saying {
            self.is_saying = true;
            say(call, true);
        }
    }

    /// When to go private.
    pub(super) fn leave_at(&self) -> Option<((), Instant)> {
        self.private_after.zip(self.direct_since).map(|(after, since)| ((), since + after))
    }

    /// The person says yes or no.
    pub(super) fn press(&mut self, call: &Call, yes: bool) {
        (self.private_after, self.wants_direct) = (None, yes);
        say(call, yes);
    }
}

/// Nobody waits for the server's answer: what is pressed next takes effect at once, however long that takes.
fn say(call: &Call, yes: bool) {
    let call = call.clone();
    tokio::spawn(async move {
        if let Err(error) = call.set_direct(yes).await {
            tracing::warn!(%error, "the server was not told about the direct connection");
        }
    });
}
