//! Credentials that were checked before, of one login.

use std::collections::VecDeque;

/// Keyed digest of a user and a password.
pub(super) type CredentialsDigest = [u8; 32];

/// Number of wrong credentials that are remembered: of programs with an old password, which go on
/// trying.
const MOST_WRONG: usize = 64;

/// The credentials that were checked before. They hold for one login: a login has a single right
/// pair.
#[derive(Default)]
pub(super) struct Verdicts {
    right: Option<CredentialsDigest>,
    /// The latest last.
    wrong: VecDeque<CredentialsDigest>,
}

impl Verdicts {
    /// True if these are the right credentials; none if they were not checked before, or long ago.
    pub(super) fn of(&self, digest: &CredentialsDigest) -> Option<bool> {
        if self.right.as_ref() == Some(digest) {
            return Some(true);
        }
        self.wrong.contains(digest).then_some(false)
    }

    /// Remembers a verdict.
    pub(super) fn remember(&mut self, digest: CredentialsDigest, is_right: bool) {
        if is_right {
            self.right = Some(digest);
        } else if !self.wrong.contains(&digest) {
            if self.wrong.len() >= MOST_WRONG {
                self.wrong.pop_front();
            }
            self.wrong.push_back(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_pair_outlasts_any_number_of_wrong_ones() {
        let digest = |number: usize| {
            let mut digest = CredentialsDigest::default();
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.of(&digest(0)), None);
        verdicts.remember(digest(0), true);
        for number in 1..=2 * MOST_WRONG {
            verdicts.remember(digest(number), false);
            verdicts.remember(digest(number), false);
        }
        assert_eq!(verdicts.wrong.len(), MOST_WRONG);
        assert_eq!(verdicts.of(&digest(0)), Some(true));
        assert_eq!(verdicts.of(&digest(1)), None);
        assert_eq!(verdicts.of(&digest(2 * MOST_WRONG)), Some(false));
    }
}
