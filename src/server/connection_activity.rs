//! Activity of one connection, by which idle ones are evicted, and the cause of its end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::connection_end::ConnectionEnd;

/// Age from which a connection without a request may be evicted: on an idle machine the first
/// request is there within milliseconds.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Activity of one connection, and the cause of its end.
pub(super) struct ConnectionActivity {
    start: Instant,
    /// True once a whole request message has arrived.
    has_requested: AtomicBool,
    /// Requests whose answer is not sent to its end.
    open_requests: AtomicUsize,
    /// Time of the last received byte or finished request, in milliseconds since `start`.
    last_activity_milliseconds: AtomicU64,
    /// The cause of its end, once that has begun.
    end: OnceLock<ConnectionEnd>,
}

/// A request in progress until this is dropped: its connection counts as active, however silent the
/// client is.
pub(super) struct ActiveRequest(Arc<ConnectionActivity>);

impl Default for ConnectionActivity {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            has_requested: AtomicBool::default(),
            open_requests: AtomicUsize::default(),
            last_activity_milliseconds: AtomicU64::default(),
            end: OnceLock::new(),
        }
    }
}

impl ConnectionActivity {
    /// Records a whole request message.
    pub(super) fn note_request(&self) {
        self.has_requested.store(true, Ordering::Relaxed);
    }

    /// Records activity now.
    pub(super) fn note_activity(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_activity_milliseconds
            .store(now, Ordering::Relaxed);
    }

    /// Records the cause of its end. The first cause counts; later ones follow from it.
    pub(super) fn note_end(&self, end: ConnectionEnd) {
        let _ = self.end.set(end);
    }

    /// The cause of its end; none while it is open.
    pub(super) fn end(&self) -> Option<ConnectionEnd> {
        self.end.get().copied()
    }

    /// Begins a request.
    pub(super) fn open_request(self: &Arc<Self>) -> ActiveRequest {
        self.open_requests.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(self.clone())
    }

    /// Returns true if a whole request message has arrived.
    pub(super) fn has_requested(&self) -> bool {
        self.has_requested.load(Ordering::Relaxed)
    }

    /// Returns true if no request has arrived although the connection is old enough for one.
    pub(super) fn is_unused(&self, now: Instant) -> bool {
        !self.has_requested() && now.duration_since(self.start) >= GRACE
    }

    /// Time since the last activity; zero while a request is in progress.
    pub(super) fn idle_time(&self, now: Instant) -> Duration {
        if self.open_requests.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.last_activity_milliseconds.load(Ordering::Relaxed));
        now.duration_since(self.start).saturating_sub(heard)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.note_activity();
        self.0.open_requests.fetch_sub(1, Ordering::Relaxed);
    }
}
