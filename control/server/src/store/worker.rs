//! A thread that owns one database connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Jobs that wait for one thread. At the bound callers wait, which slows who asks instead of growing memory.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to a thread. Dropping it lets the thread finish its queue and close the connection.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts a thread on a connection that `open` makes there.
    pub(super) async fn start(
        name: &str,
        path: &Path,
        open: fn(&Path) -> Result<Connection, StoreError>,
    ) -> Result<Self, StoreError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let (opened, is_open) = oneshot::channel();
        let path = path.to_owned();
        let thread = move || {
            let mut connection = match open(&path) {
                Ok(connection) => connection,
                Err(error) => return drop(opened.send(Err(error))),
            };
            if opened.send(Ok(())).is_err() {
                return;
            }
            while let Some(job) = queue.blocking_recv() {
                // A transaction that a panic unwinds through rolls back when it is dropped.
                if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    tracing::error!("a database job panicked; it was rolled back");
                }
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(thread).map_err(StoreError::Thread)?;
        is_open.await.map_err(|_| StoreError::Panicked)??;
        Ok(Self { jobs })
    }

    /// Runs a job after those that wait already. It runs to its end even if the caller stops waiting.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| drop(answer.send(job(connection))));
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Panicked)?
    }
}
