//! Blocking work, run on the blocking pool.

use std::future::pending;

use tokio::task::spawn_blocking;

use super::task_panic::resume_panic;

/// Runs work that blocks on the blocking pool, and returns its result. A panic of the work is one of
/// the caller. Never returns once the runtime shuts down.
///
/// # Cancel safety
///
/// Work that has begun goes on to its end.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(result) => return result,
        Err(error) => resume_panic(error),
    }
    // Cancelled, which happens only at the end of the runtime.
    pending().await
}
