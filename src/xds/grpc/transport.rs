//! How a client of a stream speaks.

use crate::snapshot::{Flavour, Kind};
use crate::xds::delivery::Form;

/// How a client of a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::xds) enum Transport {
    /// One stream for all kinds, state-of-the-world.
    Ads,
    /// One stream for all kinds, delta.
    AdsDelta,
    /// A stream for each kind, state-of-the-world.
    Grpc,
    /// A stream for each kind, delta.
    DeltaGrpc,
}

impl Transport {
    /// Every transport, in order.
    pub(super) const ALL: [Self; 4] = [Self::Ads, Self::AdsDelta, Self::Grpc, Self::DeltaGrpc];

    /// The transport of a stream of this form that serves one kind or all.
    pub(super) fn new(form: Form, kind: Option<Kind>) -> Self {
        match (form, kind) {
            (Form::Delta, None) => Self::AdsDelta,
            (Form::Delta, Some(_)) => Self::DeltaGrpc,
            (Form::Sotw | Form::Rest, None) => Self::Ads,
            (Form::Sotw | Form::Rest, Some(_)) => Self::Grpc,
        }
    }

    /// Its name, as `bootstrap --transport` and the metrics spell it.
    pub(in crate::xds) fn as_str(self) -> &'static str {
        match self {
            Self::Ads => "ads",
            Self::AdsDelta => "ads-delta",
            Self::Grpc => "grpc",
            Self::DeltaGrpc => "delta-grpc",
        }
    }

    /// What its clients are told to get resources by.
    pub(super) fn flavour(self) -> Flavour {
        match self {
            Self::Ads | Self::AdsDelta => Flavour::Ads,
            Self::Grpc => Flavour::Grpc,
            Self::DeltaGrpc => Flavour::DeltaGrpc,
        }
    }
}
