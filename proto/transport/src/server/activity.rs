//! Whether a connection on TCP is used: hyper does not say.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

/// The requests of one connection.
pub(super) struct Activity(watch::Sender<Requests>);

#[derive(Debug, Clone, Copy, Default)]
struct Requests {
    running: usize,
    /// There has been one.
    any: bool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Requests::default()))
    }

    /// A request came; it runs until the guard is dropped.
    pub(super) fn begin(&self) -> Running {
        self.0.send_modify(|requests| {
            requests.running += 1;
            requests.any = true;
        });
        Running(self.0.clone())
    }

    /// Completes when no request has run for `between`, or, if there never was one, for `before_first`.
    pub(super) async fn idle(&self, before_first: Duration, between: Duration) {
        let mut requests = self.0.subscribe();
        loop {
            let Requests { running, any } = *requests.borrow_and_update();
            let limit = if any { between } else { before_first };
            tokio::select! {
                // The sender is `self`: there is always a change or none.
                _ = requests.changed() => {}
                () = tokio::time::sleep(limit), if running == 0 => return,
            }
        }
    }
}

/// A running request.
pub(super) struct Running(watch::Sender<Requests>);

impl Running {
    /// The request runs until its response is through.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(Counted { body, _running: self })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.running -= 1);
    }
}

struct Counted {
    body: Body,
    _running: Running,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(60);
    const BETWEEN: Duration = Duration::from_secs(300);

    /// How long it takes, on a clock that is turned by hand.
    async fn seconds_until_idle(activity: &Activity) -> u64 {
        let began = tokio::time::Instant::now();
        activity.idle(FIRST, BETWEEN).await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_first_request_patience_is_shorter() {
        let activity = Activity::new();
        assert_eq!(seconds_until_idle(&activity).await, 60);
        drop(activity.begin());
        assert_eq!(seconds_until_idle(&activity).await, 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_still_being_sent_counts_as_a_request() {
        let activity = Activity::new();
        let response = activity.begin().until_sent(Body::empty());
        let ends = async {
            tokio::time::sleep(10 * BETWEEN).await;
            drop(response);
        };
        let (after, ()) = tokio::join!(seconds_until_idle(&activity), ends);
        assert_eq!(after, 3000 + 300);
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_starts_the_time_anew() {
        let activity = Activity::new();
        let asks = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                drop(activity.begin());
            }
        };
        let (after, ()) = tokio::join!(seconds_until_idle(&activity), asks);
        assert_eq!(after, 250 + 300);
    }
}
