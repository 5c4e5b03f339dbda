//! Verdict of a request about an answer, for metrics and the log.

use std::sync::Arc;

use tokio::time::Instant;

use crate::snapshot::{Name, SetVersion};

/// Verdict of a request about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::xds) enum Heard {
    /// None.
    Nothing,
    /// It was accepted.
    Accepted {
        /// When that was published, if the client was waiting then.
        published: Option<Instant>,
    },
    /// None: its peer asks for more names that no resource has than it may.
    TooManyUnknownNames,
    /// It was refused.
    Refused {
        /// The version of the answer.
        version: SetVersion,
        /// What the client says; none over REST, where a refusal is told by versions alone.
        text: Option<Arc<str>>,
        /// The resource that is to blame, if it was alone or is the only one that the client names, and
        /// whether it was refused before.
        guilty: Option<(Name, bool)>,
    },
}
