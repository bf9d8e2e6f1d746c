//! A bounded queue from the exchange to one stream, with a reason at its end and a notice when the reader is gone.

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// The exchange's end.
pub(crate) struct Outlet<T, E> {
    items: mpsc::Sender<T>,
    end: oneshot::Sender<E>,
}

/// The stream's end. Dropping it sends the notice, whatever the reason: a client that went away, a cancelled handler, a panic.
pub(crate) struct Inlet<T, E, G> {
    items: mpsc::Receiver<T>,
    end: oneshot::Receiver<E>,
    _notice: Notice<G>,
}

/// What a reader gets next.
#[derive(Debug)]
pub(crate) enum Next<T, E> {
    /// An item, in order.
    Item(T),
    /// The exchange ended the stream; what was still queued is not given any more.
    End(E),
    /// The exchange let go of the stream without a word: it is stopping.
    Closed,
}

/// Why an item was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The reader is slower than what it is told.
    Full,
    /// The reader is gone.
    Gone,
}

struct Notice<G> {
    to: mpsc::UnboundedSender<G>,
    gone: Option<G>,
}

/// A queue of at most `capacity` items. `gone` is sent to `notices` when the reader is dropped: once for each queue, so that
/// channel is bounded by the number of queues.
pub(crate) fn outlet<T, E, G>(
    capacity: usize,
    notices: &mpsc::UnboundedSender<G>,
    gone: G,
) -> (Outlet<T, E>, Inlet<T, E, G>) {
    let (items, taken) = mpsc::channel(capacity);
    let (end, ended) = oneshot::channel();
    let notice = Notice { to: notices.clone(), gone: Some(gone) };
    (Outlet { items, end }, Inlet { items: taken, end: ended, _notice: notice })
}

impl<T, E> Outlet<T, E> {
    pub(crate) fn push(&self, item: T) -> Result<(), PushError> {
        self.items.try_send(item).map_err(|error| match error {
            TrySendError::Full(_) => PushError::Full,
            TrySendError::Closed(_) => PushError::Gone,
        })
    }

    /// Ends the stream at once. A reader that is gone already needs no reason.
    pub(crate) fn end(self, why: E) {
        let _ = self.end.send(why);
    }
}

impl<T, E, G> Inlet<T, E, G> {
    /// Waits for the next item or the end. Cancel-safe. After `End` or `Closed` it must not be called again.
    pub(crate) async fn next(&mut self) -> Next<T, E> {
        tokio::select! {
            biased;
            end = &mut self.end => end.map_or(Next::Closed, Next::End),
            item = self.items.recv() => item.map_or(Next::Closed, Next::Item),
        }
    }
}

impl<G> Drop for Notice<G> {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            // Nobody listens any more only when the exchange itself has stopped.
            let _ = self.to.send(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_is_dropped_is_noticed_once() {
        let (notices, mut noticed) = mpsc::unbounded_channel();
        let (outlet, inlet) = outlet::<u8, (), _>(1, &notices, "reader");
        assert_eq!(outlet.push(1), Ok(()));
        assert_eq!(outlet.push(2), Err(PushError::Full));
        drop(inlet);
        assert_eq!(outlet.push(3), Err(PushError::Gone));
        assert_eq!(noticed.try_recv(), Ok("reader"));
        assert!(noticed.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_end_overtakes_what_is_queued() {
        let (notices, _noticed) = mpsc::unbounded_channel();
        let (outlet, mut inlet) = outlet::<u8, &str, _>(4, &notices, ());
        outlet.push(1).unwrap();
        assert!(matches!(inlet.next().await, Next::Item(1)));
        outlet.push(2).unwrap();
        outlet.end("taken over");
        assert!(matches!(inlet.next().await, Next::End("taken over")));
    }

    #[tokio::test]
    async fn an_exchange_that_stops_closes_its_streams() {
        let (notices, _noticed) = mpsc::unbounded_channel();
        let (outlet, mut inlet) = outlet::<u8, (), _>(4, &notices, ());
        drop(outlet);
        assert!(matches!(inlet.next().await, Next::Closed));
    }
}
