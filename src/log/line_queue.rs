//! Bounded queue of log lines, and the thread that writes them to a sink that may stall.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bounded queue of log lines. A writer never waits for the sink: a line that does not fit is
/// dropped and counted. Cheap to clone.
///
/// Unlike `tracing-appender`, it is bounded in bytes instead of lines, and never prints to the
/// standard output when a stalled sink outlasts the shutdown, which would block where that is the
/// same pipe.
#[derive(Clone, Debug)]
pub struct LineQueue {
    shared: Arc<SharedLines>,
}

#[derive(Debug)]
struct SharedLines {
    most_bytes: usize,
    state: Mutex<QueuedLines>,
    /// Notified when there is a line to write.
    filled: Condvar,
    /// Notified when everything is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct QueuedLines {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of the lines that are queued or being written.
    bytes: usize,
    /// True while the thread writes a line.
    is_writing: bool,
    dropped: u64,
    /// Number of dropped lines that were reported.
    told: u64,
}

impl LineQueue {
    /// A queue of `most_bytes` to `sink`, and the thread between them. When lines were dropped and
    /// the sink has taken all that was queued, the thread calls `tell` with their number; that may
    /// log lines itself.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn new(
        sink: impl Write + Send + 'static,
        most_bytes: usize,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(SharedLines {
            most_bytes,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let queue = Self {
            shared: shared.clone(),
        };
        // Detached: nothing can interrupt a write to a stalled pipe, so it ends with the process.
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.empty(sink, &tell))?;
        Ok(queue)
    }

    /// Number of dropped lines: the queue was full, or the sink failed.
    pub fn dropped(&self) -> u64 {
        self.shared.state().dropped
    }

    /// Waits until everything is written, at most for `limit`. Returns true if it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let is_busy = |state: &mut QueuedLines| state.is_writing || !state.lines.is_empty();
        let state = self.shared.state();
        let waited = self
            .shared
            .emptied
            .wait_timeout_while(state, limit, is_busy);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !waited.timed_out()
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.shared.state();
        let bytes = state.bytes.saturating_add(line.len());
        if bytes > self.shared.most_bytes {
            state.dropped += 1;
            return;
        }
        state.bytes = bytes;
        state.lines.push_back(line.to_vec());
        drop(state);
        self.shared.filled.notify_one();
    }
}

impl SharedLines {
    fn state(&self) -> MutexGuard<'_, QueuedLines> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes lines for ever.
    fn empty(&self, mut sink: impl Write, tell: &impl Fn(u64)) {
        loop {
            let line = self.next();
            let written = sink.write_all(&line).and_then(|()| sink.flush());
            let mut state = self.state();
            state.bytes -= line.len();
            state.is_writing = false;
            if written.is_err() {
                // A closed pipe or a full disk: there is nowhere to report it.
                state.dropped += 1;
            }
            if !state.lines.is_empty() {
                continue;
            }
            let untold = state.dropped - state.told;
            if untold > 0 && written.is_ok() {
                state.told = state.dropped;
                drop(state);
                tell(untold);
            } else {
                drop(state);
            }
            self.emptied.notify_all();
        }
    }

    /// Waits for the next line.
    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.is_writing = true;
                return line;
            }
            let waited = self.filled.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Write for LineQueue {
    /// Queues a line, or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LineQueue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A sink that takes a line when the test takes it.
    struct Pipe(SyncSender<String>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let line = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(line).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue whose sink takes nothing until the test does, and the sink's other end.
    fn stalled(most_bytes: usize) -> (LineQueue, Receiver<String>) {
        let (sender, receiver) = sync_channel(0);
        let queue: Arc<Mutex<Option<LineQueue>>> = Arc::default();
        let tells = queue.clone();
        let tell = move |dropped| {
            let queue = tells.lock().unwrap();
            queue
                .as_ref()
                .unwrap()
                .push(format!("{dropped}").as_bytes());
        };
        let made = LineQueue::new(Pipe(sender), most_bytes, tell).unwrap();
        *queue.lock().unwrap() = Some(made.clone());
        (made, receiver)
    }

    #[test]
    fn nobody_waits_for_a_stalled_sink_and_what_does_not_fit_is_counted_and_told() {
        let (queue, pipe) = stalled(10);
        for line in ["0123", "4567", "long", "89"] {
            queue.push(line.as_bytes());
        }
        assert_eq!(queue.dropped(), 1);
        assert!(!queue.flush(Duration::ZERO), "the sink has taken nothing");
        let taken: Vec<_> = pipe.iter().take(4).collect();
        assert_eq!(taken, ["0123", "4567", "89", "1"]);
        queue.push(b"next");
        assert_eq!(pipe.recv().unwrap(), "next", "it is told once");
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_flush_waits_for_what_is_queued() {
        let (queue, pipe) = stalled(100);
        queue.push(b"1");
        queue.push(b"2");
        let reader = thread::spawn(move || pipe.iter().take(2).collect::<Vec<_>>());
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(reader.join().unwrap(), ["1", "2"]);
        assert!(queue.flush(Duration::ZERO), "nothing is left");
    }

    #[test]
    fn a_sink_that_is_gone_holds_up_nothing() {
        let (queue, pipe) = stalled(100);
        drop(pipe);
        queue.push(b"lost");
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(queue.dropped(), 1);
    }
}
