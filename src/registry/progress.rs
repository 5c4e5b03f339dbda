//! Progress of a proxy with one kind, in the words of `/proxies`.

/// Progress of a proxy with one kind, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Progress {
    /// It has what it should have.
    Synced,
    /// It has nothing, and was sent nothing.
    NotSent,
    /// It has yet to be given, or to accept, what it should have.
    Stale,
    /// It refused something that it was sent.
    Rejected,
    /// It is gone.
    Gone,
}

/// The states of proxies, as the metric has them.
pub(super) const STATES: [&str; 4] = ["synced", "behind", "rejected", "gone"];

impl Progress {
    /// The state of a proxy whose worst kind is this, as the metric has it.
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
