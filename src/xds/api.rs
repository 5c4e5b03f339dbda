//! The two of Envoy's APIs that are polled over REST, and what tells their polls apart.

use std::time::Duration;

use crate::snapshot::{Flavour, Kind};

/// The API that a proxy polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// v3: a poll may be held for long, and ends with 304 when there is nothing new.
    V3,
    /// v2, of Envoys of 2018 or so: they give a poll a second as a rule, and take every status but
    /// 200 for a failure.
    V2 {
        /// Whether private keys leave over the listener that is polled: there they stand inside
        /// other resources.
        keys: bool,
    },
}

/// How much earlier than the client gives it up a poll of v3 is answered, if there is room for it.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// How long Envoy waits for an answer over v2 when it does not say, and when it cannot be told.
const V2_TIMEOUT: Duration = Duration::from_secs(1);

/// How long two connections must hold a poll for one thing before they are taken for two proxies,
/// at most. Polls of v2 are held for half a second, so what is left of one that was given up cannot
/// be told from a second proxy by a whole second.
const V2_SHARED_AFTER: Duration = Duration::from_millis(250);

impl Api {
    /// What a path asks for. `keys` says whether private keys leave over the listener.
    pub(super) fn of_path(path: &str, keys: bool) -> Option<(Self, Kind)> {
        let apis = [
            (Self::V3, "/v3/discovery:"),
            (Self::V2 { keys }, "/v2/discovery:"),
        ];
        apis.into_iter().find_map(|(api, prefix)| {
            let asked = path.strip_prefix(prefix)?;
            let mut kinds = Kind::ALL.into_iter();
            let kind = kinds.find(|kind| kind.as_str() == asked)?;
            api.type_url(kind).map(|_| (api, kind))
        })
    }

    /// The form in which its resources are written.
    pub(super) fn flavour(self) -> Flavour {
        match self {
            Self::V3 => Flavour::Rest,
            Self::V2 { .. } => Flavour::V2,
        }
    }

    /// The type URL of a kind; none if it has no such kind.
    pub(super) fn type_url(self, kind: Kind) -> Option<&'static str> {
        match self {
            Self::V3 => Some(kind.type_url()),
            Self::V2 { .. } => kind.v2_type_url(),
        }
    }

    /// Its name among the transports.
    pub(super) fn transport(self) -> &'static str {
        match self {
            Self::V3 => "rest",
            Self::V2 { .. } => "rest-v2",
        }
    }

    /// How long a poll is held at most: `limit`, and safely less than the proxy waits, which it
    /// says in `expected`.
    pub(super) fn longest_hold(self, limit: Duration, expected: Option<Duration>) -> Duration {
        let early = match self {
            Self::V3 => expected.map(|expected| {
                let early = expected.saturating_sub(TIMEOUT_MARGIN);
                early.max(expected / 2)
            }),
            Self::V2 { .. } => Some(expected.unwrap_or(V2_TIMEOUT) / 2),
        };
        early.map_or(limit, |early| early.min(limit))
    }

    /// How long two connections must hold a poll for one thing before they are taken for two
    /// proxies, `limit` being what is set.
    pub(super) fn shared_after(self, limit: Duration) -> Duration {
        match self {
            Self::V3 => limit,
            Self::V2 { .. } => limit.min(V2_SHARED_AFTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: Api = Api::V2 { keys: false };

    fn held(api: Api, expected: Option<u64>) -> u128 {
        let limit = Duration::from_secs(60);
        let expected = expected.map(Duration::from_millis);
        api.longest_hold(limit, expected).as_millis()
    }

    #[test]
    fn a_poll_is_held_for_less_than_the_proxy_waits() {
        assert_eq!(held(Api::V3, None), 60_000);
        assert_eq!(held(Api::V3, Some(90_000)), 60_000);
        assert_eq!(held(Api::V3, Some(60_000)), 50_000);
        assert_eq!(held(Api::V3, Some(20_000)), 10_000);
        assert_eq!(held(Api::V3, Some(1_000)), 500);
        assert_eq!(held(Api::V3, Some(0)), 0);
    }

    #[test]
    fn a_poll_of_v2_is_held_for_half_of_that_and_for_half_a_second_when_nothing_is_said() {
        assert_eq!(held(V2, None), 500);
        assert_eq!(held(V2, Some(1_000)), 500);
        assert_eq!(held(V2, Some(60_000)), 30_000);
        assert_eq!(held(V2, Some(600_000)), 60_000);
        assert_eq!(held(V2, Some(0)), 0);
    }

    #[test]
    fn v2_has_every_kind_but_secrets() {
        for kind in Kind::ALL {
            let v3 = Api::of_path(&format!("/v3/discovery:{kind}"), true);
            assert_eq!(v3, Some((Api::V3, kind)));
            let v2 = Api::of_path(&format!("/v2/discovery:{kind}"), false);
            assert_eq!(v2, (kind != Kind::Secret).then_some((V2, kind)));
        }
        for path in [
            "/v1/discovery:clusters",
            "/v2/discovery",
            "/v2/discovery:routes/",
        ] {
            assert_eq!(Api::of_path(path, true), None);
        }
    }
}
