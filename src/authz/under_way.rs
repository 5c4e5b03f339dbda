//! Checks of one login that run or wait, each for all requests with the same credentials.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::checker::WAITING_OF_ONE;
use super::verdicts::CredentialsDigest;

/// Checks that run or wait, with what tells their end.
#[derive(Default)]
pub(super) struct ChecksUnderWay(Mutex<BTreeMap<CredentialsDigest, watch::Receiver<()>>>);

/// Turn of a request among them.
pub(super) enum CheckTurn {
    /// Its check is to be made now, and is under way until the value is dropped.
    First(CheckUnderWay),
    /// A check of the same credentials is under way. The channel closes at its end.
    Joined(watch::Receiver<()>),
    /// Too many others are.
    None,
}

/// A check under way.
pub(super) struct CheckUnderWay {
    all: Arc<ChecksUnderWay>,
    digest: CredentialsDigest,
    /// Closes after the check was taken out.
    _ended: watch::Sender<()>,
}

impl ChecksUnderWay {
    /// The turn of a request with these credentials.
    pub(super) fn turn(self: &Arc<Self>, digest: CredentialsDigest) -> CheckTurn {
        let mut all = self.all();
        if let Some(ended) = all.get(&digest) {
            return CheckTurn::Joined(ended.clone());
        }
        if all.len() >= WAITING_OF_ONE {
            return CheckTurn::None;
        }
        let (ended, receiver) = watch::channel(());
        all.insert(digest, receiver);
        CheckTurn::First(CheckUnderWay {
            all: self.clone(),
            digest,
            _ended: ended,
        })
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<CredentialsDigest, watch::Receiver<()>>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckUnderWay {
    /// The digest of the credentials.
    pub(super) fn digest(&self) -> CredentialsDigest {
        self.digest
    }
}

impl Drop for CheckUnderWay {
    fn drop(&mut self) {
        self.all.all().remove(&self.digest);
    }
}
