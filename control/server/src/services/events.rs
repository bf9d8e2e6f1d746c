//! A device's stream: what it starts with, what follows, and how it ends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use duocast_wire::v1;
use futures_util::{Stream, stream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use v1::event::Kind;

use super::errors::IntoStatus;
use super::{Context, now, views};
use crate::auth::Refusal;
use crate::exchange::{EventInlet, ExchangeError, Next, Opened};
use crate::metrics;

/// Clients of a draining server come back over this range of time, in milliseconds: each is told a moment of its own.
const RETRY_AFTER_MS: std::ops::Range<u32> = 250..3_000;

pub(super) type EventStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

struct DeviceStream {
    first: VecDeque<v1::Event>,
    events: EventInlet,
    /// The last number given; heartbeats repeat it.
    seq: u64,
    heartbeat: Duration,
    expired: Pin<Box<Sleep>>,
    draining: CancellationToken,
    stage: Stage,
    _open: TaskTrackerToken,
}

enum Stage {
    Open,
    /// The server is about to stop, and said so.
    Drained,
    Over,
}

/// The stream of a session that was just opened.
pub(super) fn stream(context: &Context, opened: Opened, expiry: SystemTime) -> EventStream {
    let Opened { subscribed, events } = opened;
    let started = v1::SessionStarted {
        session_id: subscribed.session.to_string(),
        resumed: subscribed.resumed,
        calls: subscribed.calls.iter().map(views::call).collect(),
        resume_window_ms: context.resume_window_ms(),
        broadcast: subscribed.broadcast.as_ref().map(views::broadcast),
    };
    let mut first = VecDeque::from([views::stamped(subscribed.seq, now(), Kind::SessionStarted(started))]);
    first.extend(subscribed.missed.iter().map(views::event));
    let state = DeviceStream {
        first,
        events,
        seq: subscribed.seq,
        heartbeat: context.tuning.heartbeat,
        expired: Box::pin(sleep(expiry.duration_since(SystemTime::now()).unwrap_or_default())),
        draining: context.draining.clone(),
        stage: Stage::Open,
        _open: context.open_streams.token(),
    };
    Box::pin(stream::unfold(state, |mut state| async move { Some((state.next().await?, state)) }))
}

impl DeviceStream {
    async fn next(&mut self) -> Option<Result<v1::Event, Status>> {
        match self.stage {
            Stage::Open => {}
            Stage::Drained => return Some(self.end(ExchangeError::Stopped.status())),
            Stage::Over => return None,
        }
        if let Some(event) = self.first.pop_front() {
            return Some(Ok(self.give(event)));
        }
        tokio::select! {
            biased;
            () = &mut self.expired => Some(self.end(Refusal::Expired.status())),
            next = self.events.next() => match next {
                Next::Item(event) => Some(Ok(self.give(views::event(&event)))),
                Next::End(why) => Some(self.end(why.status())),
                Next::Closed => Some(self.end(ExchangeError::Stopped.status())),
            },
            () = self.draining.cancelled() => {
                self.stage = Stage::Drained;
                let retry_after_ms = rand::random_range(RETRY_AFTER_MS);
                Some(Ok(views::stamped(self.seq, now(), Kind::Draining(v1::Draining { retry_after_ms }))))
            }
            () = sleep(self.heartbeat) => {
                Some(Ok(views::stamped(self.seq, now(), Kind::Heartbeat(v1::Heartbeat {}))))
            }
        }
    }

    fn give(&mut self, event: v1::Event) -> v1::Event {
        self.seq = event.seq;
        metrics::event_delivered();
        event
    }

    fn end(&mut self, why: Status) -> Result<v1::Event, Status> {
        self.stage = Stage::Over;
        Err(why)
    }
}
