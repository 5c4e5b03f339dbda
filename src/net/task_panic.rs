//! The panic of a task, which is one of whoever joins it.

use tokio::task::JoinError;

/// Resumes the panic of a task; returns if the task was cancelled.
pub fn resume_panic(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}
