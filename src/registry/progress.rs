//! Progress of a proxy with one kind of resource.

/// Progress of a proxy with one kind, worst last, as `/proxies` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Progress {
    /// It has accepted what it should have.
    Synced,
    /// It has nothing, and was sent nothing.
    NotSent,
    /// It has yet to be sent, or to accept, what it should have.
    Stale,
    /// It rejected a resource that it was sent.
    Rejected,
    /// It is gone.
    Gone,
}

/// The states of proxies, as labels of the metric `proxies`.
pub(super) const STATES: [&str; 4] = ["synced", "behind", "rejected", "gone"];

impl Progress {
    /// Returns the label for a proxy whose worst kind is this.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::NotSent | Self::Stale => "behind",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_one_of_the_metric() {
        let all = [
            Progress::Synced,
            Progress::NotSent,
            Progress::Stale,
            Progress::Rejected,
            Progress::Gone,
        ];
        let mut states = all.map(Progress::state).to_vec();
        states.dedup();
        assert_eq!(states, STATES);
    }
}
