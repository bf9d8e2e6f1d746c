//! One publishes, many view.

use std::fmt;

use duocast_wire::v1;

use super::Client;
use crate::audio::{AudioSink, Silence};
use crate::call::{Call, Media};
use crate::error::CallError;

/// Lets whoever has it view a broadcast while it lasts. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct ViewingToken(String);

duocast_model::assert_unshown!(ViewingToken);
duocast_model::assert_not_impl!(ViewingToken: serde::Serialize);

impl ViewingToken {
    /// As a link or a message held it. The server says whether it is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For those who are to view, and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ViewingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewingToken(…)")
    }
}

impl Client {
    /// Publishes to whoever views with the token. The broadcast is handled as a call that is live: its
    /// [`info`](Call::info) tells how many view, [`hang_up`](Call::hang_up) stops it for everybody. An account has one at a
    /// time.
    pub async fn start_broadcast(&self, media: Media) -> Result<(Call, ViewingToken), CallError> {
        let request = v1::StartBroadcastRequest {
            session_id: self.0.link.id(),
            request_id: uuid::Uuid::new_v4().to_string(),
            video: media.has_video(),
        };
        let answer = self.0.link.signaller.start_broadcast(request).await?;
        let token = ViewingToken(answer.viewing_token);
        let call = self.0.link.merge_broadcast(answer.broadcast).await?;
        call.attach(media).await?;
        Ok((call, token))
    }

    /// Views a broadcast: nothing is sent. [`hang_up`](Call::hang_up) leaves it.
    pub async fn watch_broadcast(
        &self,
        token: &ViewingToken,
        sink: impl AudioSink,
    ) -> Result<Call, CallError> {
        let request =
            v1::WatchBroadcastRequest { session_id: self.0.link.id(), viewing_token: token.0.clone() };
        let answer = self.0.link.signaller.watch_broadcast(request).await?;
        let call = self.0.link.merge_broadcast(answer.broadcast).await?;
        call.only_listen().await?;
        call.attach(Media::audio(Silence, sink)).await?;
        Ok(call)
    }
}
