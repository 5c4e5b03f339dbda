//! Requests for the published state, by rooms that need it rarely: nothing is kept for them.

use tokio::sync::{mpsc, oneshot};

use super::Pipeline;
use crate::state::State;

/// Most requests that wait for their answers: as many as the admin port has connections would be
/// too many at once.
const WAITING: usize = 16;

/// Asks the pipeline for the published state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateRequests(mpsc::Sender<StateRequest>);

/// A request, answered with the state; none before the first publication.
pub(super) type StateRequest = oneshot::Sender<Option<State>>;

impl StateRequests {
    /// Requests, and their receiver.
    pub(super) fn channel() -> (Self, mpsc::Receiver<StateRequest>) {
        let (requests, received) = mpsc::channel(WAITING);
        (Self(requests), received)
    }

    /// The state that was published last; none before the first publication, or when the pipeline
    /// has ended. Cancel safe.
    pub async fn published(&self) -> Option<State> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        answered.await.ok()?
    }
}

impl Pipeline {
    /// Requests for the published state.
    pub fn state_requests(&self) -> StateRequests {
        self.state_requests.clone()
    }

    pub(super) fn answer(&self, request: StateRequest) {
        let published = self.published.then(|| self.projected.clone());
        // Whoever asked may have left.
        let _ = request.send(published);
    }
}
