//! Files that are looked at on the blocking pool, with an end to the wait: a dead network mount holds
//! up nothing but the news of its own files.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::task_panic::resume_panic;

/// The longest wait for one look. Network mounts in order answer within a second; ten thousand
/// certificates on a local disk are read in two.
pub const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Files, and whoever looks at them: one look at a time. A look that takes longer than
/// [`LOOK_LIMIT`] goes on, and counts as hung until it ends; meanwhile no other begins, so it costs
/// one thread.
#[derive(Debug)]
pub struct BlockingFiles<T> {
    /// The files in words, for the log.
    subject: String,
    files: Arc<Mutex<T>>,
    /// Has the next look read everything: the result of a hung one is lost.
    forget: fn(&mut T),
    running: Option<RunningLook>,
}

/// A look that has not ended yet.
#[derive(Debug)]
struct RunningLook {
    task: JoinHandle<()>,
    since: Instant,
    is_hung: bool,
}

/// Error: the files do not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading it hangs, as on a network mount that is away")]
pub struct HungLook {
    /// The beginning of the look that hangs.
    pub since: Instant,
}

impl<T: Send + 'static> BlockingFiles<T> {
    /// These files, named `subject` in the log. `forget` has them count as never read.
    pub fn new(subject: impl Into<String>, files: T, forget: fn(&mut T)) -> Self {
        Self {
            subject: subject.into(),
            files: Arc::new(Mutex::new(files)),
            forget,
            running: None,
        }
    }

    /// Does this work on the files, which may block, and returns its result. A panic of the work is
    /// one of the caller. Never returns once the runtime shuts down.
    ///
    /// # Errors
    ///
    /// If this look, or the one before it, hangs: after [`LOOK_LIMIT`] the first time, then at once
    /// until it has ended.
    ///
    /// # Cancel safety
    ///
    /// Work that has begun goes on to its end; the next look waits for it, and reads everything.
    pub async fn look<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, HungLook> {
        if self.running.is_some() {
            self.wait().await?;
            // Nobody does work meanwhile.
            (self.forget)(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let (sender, result) = oneshot::channel();
        let files = Arc::clone(&self.files);
        let task = spawn_blocking(move || {
            let done = work(&mut files.lock().unwrap_or_else(PoisonError::into_inner));
            // Nobody waits for the result of a hung look.
            let _ = sender.send(done);
        });
        self.running = Some(RunningLook {
            task,
            since: Instant::now(),
            is_hung: false,
        });
        self.wait().await?;
        match result.await {
            Ok(done) => Ok(done),
            // The work has ended, so it has sent.
            Err(_) => std::future::pending().await,
        }
    }

    /// The files, which hang while they are locked.
    #[cfg(test)]
    pub(crate) fn files(&self) -> Arc<Mutex<T>> {
        Arc::clone(&self.files)
    }

    /// Waits until the running look has ended, or counts as hung.
    async fn wait(&mut self) -> Result<(), HungLook> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let since = running.since;
        if running.is_hung && !running.task.is_finished() {
            return Err(HungLook { since });
        }
        match timeout(LOOK_LIMIT, &mut running.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                resume_panic(error);
                // Cancelled, which happens only at the end of the runtime.
                std::future::pending::<()>().await;
            }
            Err(_) => {
                running.is_hung = true;
                warn!(
                    file = self.subject,
                    waited_seconds = LOOK_LIMIT.as_secs(),
                    remedy = "see if the mount that it is on answers; what was read before is used \
                              until then",
                    "reading a file hangs"
                );
                return Err(HungLook { since });
            }
        }
        if running.is_hung {
            let hung_seconds = since.elapsed().as_secs();
            info!(file = self.subject, hung_seconds, "the file answers again");
        }
        self.running = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    /// A number, and the times that it was forgotten.
    #[derive(Debug, Default)]
    struct Counted {
        number: u32,
        forgotten: u32,
    }

    fn counted() -> BlockingFiles<Counted> {
        BlockingFiles::new("a file", Counted::default(), |it| it.forgotten += 1)
    }

    /// Work that hangs until the sender is dropped, and what ends it.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce(&mut Counted) + Send) {
        let (end, hangs) = mpsc::channel();
        let work = move |it: &mut Counted| {
            it.number += 1;
            let _ = hangs.recv();
        };
        (end, work)
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_ends_gives_its_result() {
        let mut files = counted();
        for number in 1..=3 {
            let seen = files.look(|it| {
                it.number += 1;
                (it.number, it.forgotten)
            });
            assert_eq!(seen.await, Ok((number, 0)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_waited_for_once_and_no_other_begins_meanwhile() {
        let mut files = counted();
        let (end, work) = hanging();
        let since = Instant::now();
        let hung = HungLook { since };
        {
            let mut look = std::pin::pin!(files.look(work));
            assert_eq!(look.as_mut().now_or_never(), None);
            // The paused clock stands still while somebody blocks.
            tokio::time::advance(LOOK_LIMIT).await;
            assert_eq!(look.as_mut().now_or_never(), Some(Err(hung)));
        }
        for _ in 0..10 {
            let number = files.look(|it| it.number);
            assert_eq!(number.now_or_never(), Some(Err(hung)), "at once");
        }
        drop(end);
        let seen = loop {
            match files.look(|it| (it.number, it.forgotten)).await {
                Ok(seen) => break seen,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(seen, (1, 1), "what it read is read again");
        assert_eq!(files.look(|it| it.forgotten).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_nobody_waited_for_is_ended_and_forgotten_first() {
        let mut files = counted();
        let (end, work) = hanging();
        assert_eq!(files.look(work).now_or_never(), None);
        drop(end);
        assert_eq!(files.look(|it| (it.number, it.forgotten)).await, Ok((1, 1)));
    }
}
