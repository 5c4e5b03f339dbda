//! A cluster that left the snapshot, in a record: its bytes, and the time until which it is kept.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use tokio::time::Instant;

use super::document::DepartedRecord;
use super::fault::RecordFault;
use super::translate::ClockReading;
use crate::pipeline::{DEPARTED_KEPT, DepartedCluster};
use crate::snapshot::{Encode, Flavour, Origin, Resource, Version};

/// The record of a cluster. Its bytes are recorded, not what it was made from: clients hold these
/// bytes, whatever labels and settings a later process makes clusters from. A cluster requires no
/// other resource.
pub(super) fn departed_record(
    departed: &DepartedCluster,
    now: ClockReading,
) -> DepartedRecord<'static> {
    let DepartedCluster { resource, until } = departed;
    let left = until.saturating_duration_since(now.instant).as_secs();
    let left = i64::try_from(left).unwrap_or(i64::MAX);
    let bytes = |flavour| BASE64.encode(&resource.bytes(flavour)).into();
    DepartedRecord {
        name: resource.name().to_string().into(),
        version: resource.version().to_string().into(),
        origin: resource
            .head()
            .origin()
            .text(resource.name())
            .map(|origin| origin.to_string().into()),
        longest_wait_seconds: resource
            .head()
            .longest_wait()
            .map(|wait| wait.as_secs_f64()),
        until: now.unix_seconds.saturating_add(left),
        rest: bytes(Flavour::Rest),
        ads: bytes(Flavour::Ads),
        grpc: bytes(Flavour::Grpc),
        delta_grpc: bytes(Flavour::DeltaGrpc),
    }
}

/// The cluster of a record, and the time until which it is kept.
pub(super) fn departed_cluster(
    record: DepartedRecord<'_>,
    now: ClockReading,
) -> Result<(Resource, Instant), RecordFault> {
    let DepartedRecord {
        name,
        version,
        origin,
        longest_wait_seconds,
        until,
        rest,
        ads,
        grpc,
        delta_grpc,
    } = record;
    let wrong = |what| RecordFault::Content(format!("{what} of the cluster {name}"));
    let bytes = |text: Cow<'_, str>| {
        let bytes = BASE64.decode(text.as_bytes());
        bytes.map(Bytes::from).map_err(|_| wrong("the bytes"))
    };
    let encoded = EncodedCluster {
        rest: bytes(rest)?,
        ads: bytes(ads)?,
        grpc: bytes(grpc)?,
        delta_grpc: bytes(delta_grpc)?,
    };
    let version = Version::parse(&version).ok_or_else(|| wrong("the version"))?;
    let mut cluster = Resource::versioned((&*name).into(), version, encoded);
    if let Some(origin) = origin {
        cluster = cluster.made_from(Origin::One((&*origin).into()));
    }
    if let Some(seconds) = longest_wait_seconds {
        let wait = Duration::try_from_secs_f64(seconds).map_err(|_| wrong("the longest wait"))?;
        cluster = cluster.waiting(wait);
    }
    // A clock that was set back must not keep it for years.
    let left = u64::try_from(until.saturating_sub(now.unix_seconds)).unwrap_or(0);
    let left = Duration::from_secs(left).min(DEPARTED_KEPT);
    Ok((cluster, now.instant + left))
}

/// The bytes of a cluster in every flavour.
struct EncodedCluster {
    rest: Bytes,
    ads: Bytes,
    grpc: Bytes,
    delta_grpc: Bytes,
}

impl Encode for EncodedCluster {
    fn encode(&self, flavour: Flavour) -> Bytes {
        match flavour {
            Flavour::Rest => self.rest.clone(),
            Flavour::Ads => self.ads.clone(),
            Flavour::Grpc => self.grpc.clone(),
            Flavour::DeltaGrpc => self.delta_grpc.clone(),
        }
    }
}
