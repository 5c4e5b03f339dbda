//! Names of clusters, kept once for all proxies that know the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use twox_hash::XxHash3_128;

use super::wire::put_field;

/// The field of the names in a request of either variant.
pub(crate) const NAMES_FIELD: u64 = 3;

/// Some names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The fields of a request that asks for them.
    pub(super) encoded: Bytes,
    pub(super) set: BTreeSet<Box<[u8]>>,
}

/// All sets of names that any proxy knows.
#[derive(Debug, Default)]
pub(super) struct NameSets {
    known: Mutex<BTreeMap<u128, Arc<Names>>>,
}

impl NameSets {
    /// The set of these names.
    pub(super) fn of<'a>(&self, names: impl Iterator<Item = &'a [u8]> + Clone) -> Arc<Names> {
        let mut encoded = BytesMut::new();
        for name in names.clone() {
            put_field(&mut encoded, NAMES_FIELD, name);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(XxHash3_128::oneshot(&encoded));
        let names = entry.or_insert_with(|| {
            Arc::new(Names {
                encoded: encoded.freeze(),
                set: names.map(Box::from).collect(),
            })
        });
        Arc::clone(names)
    }
}
