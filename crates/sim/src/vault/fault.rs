//! Faults: answers instead of, or before, the truth.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::world::World;

/// A fault of the requests that match, a number of times or forever. Of several faults the first that
/// matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The paths, without `/v1/`, as a policy writes them: exact, `+` for one segment, a `*` at the
    /// end for whatever follows.
    pub path: String,
    /// Number of requests that get it; `None`: all of them, until [`Vault::heal`](super::Vault::heal).
    pub times: Option<usize>,
    /// The fault itself.
    pub what: What,
}

impl Fault {
    /// A fault for the next `times` requests to `path`.
    pub fn times(times: usize, path: impl Into<String>, what: What) -> Self {
        Self {
            path: path.into(),
            times: Some(times),
            what,
        }
    }

    /// A fault for every request to `path`.
    pub fn always(path: impl Into<String>, what: What) -> Self {
        Self {
            path: path.into(),
            times: None,
            what,
        }
    }
}

/// The kind of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// This answer; nothing is done.
    Status {
        /// The status.
        status: u16,
        /// Headers besides `Content-Type: application/json`, such as `Retry-After`.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The truth of the moment when this time has passed.
    Delay(Duration),
    /// Nothing, ever, on an open connection; nothing is done.
    NeverAnswer,
    /// The connection ends before a byte of the answer; the request has been carried out.
    Close,
    /// The connection ends in the middle of the true answer's body.
    CloseMidBody,
    /// Half of the true answer's body, then nothing more on an open connection.
    StallMidBody,
    /// 200, `application/json`, and bytes that are no JSON.
    Garbage,
    /// 200, `application/json`, and a body of this many bytes, all of them spaces.
    HugeBody(usize),
    /// A read gets what was true when the fault was set, as from a replica that has fallen behind:
    /// tokens since then are unknown, secrets are old. Writes get the truth.
    StaleRead,
    /// 307 to the same path at this base URL, as from a standby that does not forward.
    Standby307(String),
}

impl What {
    /// This status with Vault's JSON around one text.
    pub fn status(status: u16, error: &str) -> Self {
        Self::Status {
            status,
            headers: Vec::new(),
            body: serde_json::json!({ "errors": [error] }).to_string(),
        }
    }
}

/// A fault ended the connection without a whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection was closed before the answer was complete")]
pub struct Broken;

/// The way of an answer over the wire.
pub(super) enum Delivery {
    Whole(Response<Bytes>),
    /// Closed before a byte.
    Closed,
    /// Half of the body, then the end of the connection.
    Cut(Response<Bytes>),
    /// Half of the body, then silence.
    Stalled(Response<Bytes>),
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// The world that a stale read sees.
    frozen: Option<Box<World>>,
}

/// One request's share of a fault.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) what: What,
    pub(super) frozen: Option<Box<World>>,
}

impl Faults {
    pub(super) fn plan(&mut self, fault: Fault, world: &World) {
        let frozen = (fault.what == What::StaleRead).then(|| Box::new(world.clone()));
        self.set.push(Planned { fault, frozen });
    }

    pub(super) fn clear(&mut self) {
        self.set.clear();
    }

    /// Takes what a request to this path is due, if anything.
    pub(super) fn take(&mut self, path: &str) -> Option<Due> {
        self.set.retain(|planned| planned.fault.times != Some(0));
        let planned = self
            .set
            .iter_mut()
            .find(|planned| covers(&planned.fault.path, path))?;
        if let Some(times) = &mut planned.fault.times {
            *times -= 1;
        }
        Some(Due {
            what: planned.fault.what.clone(),
            frozen: planned.frozen.clone(),
        })
    }
}

/// True if a pattern as policies write it matches a path.
pub(super) fn covers(pattern: &str, path: &str) -> bool {
    let (pattern, is_prefix) = match pattern.strip_suffix('*') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut wanted = pattern.split('/').peekable();
    let mut found = path.split('/');
    while let Some(segment) = wanted.next() {
        let Some(part) = found.next() else {
            return false;
        };
        let is_last = wanted.peek().is_none();
        let fits = if segment == "+" {
            true
        } else if is_last && is_prefix {
            part.starts_with(segment)
        } else {
            part == segment
        };
        if !fits {
            return false;
        }
    }
    is_prefix || found.next().is_none()
}

/// The answer that a fault makes up.
pub(super) fn made_up(status: u16, headers: &[(String, String)], body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.as_str())) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_a_policy_would() {
        for (pattern, path) in [
            ("kv/data/live", "kv/data/live"),
            ("kv/data/*", "kv/data/certificates/a"),
            ("kv/data/cert*", "kv/data/certificates/a"),
            ("kv/+/live", "kv/data/live"),
            ("kv/+/*", "kv/data/certificates/a"),
            ("*", "sys/health"),
        ] {
            assert!(covers(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("kv/data/live", "kv/data/live/more"),
            ("kv/data", "kv/data/live"),
            ("kv/+", "kv/data/live"),
            ("kv/data/*", "kv/metadata/live"),
        ] {
            assert!(!covers(pattern, path), "{pattern} {path}");
        }
    }
}
