//! Recorded resources by kind and name, and answers made of them once for all clients.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use twox_hash::XxHash3_128;

use crate::error::Error;
use crate::xds::{Answer, Frames, Kind, NAMES_FIELD, Variant, fields, framed, put_field};

/// Size at which an answer is split, where the protocol allows that.
const ANSWER_BYTES: usize = 1 << 20;

/// Everything that was recorded from a server over one transport.
#[derive(Debug)]
pub(super) struct Store {
    /// None for polls.
    variant: Option<Variant>,
    /// Elements of answers, as they were recorded.
    elements: BTreeMap<Kind, BTreeMap<Bytes, Bytes>>,
    /// Finished answers by kind and digest of the requested names.
    answers: BTreeMap<(Kind, u128), Bytes>,
    /// Bodies of answered polls by kind and name, with their versions.
    polled: BTreeMap<(Kind, String), Polled>,
}

/// The body of an answered poll.
#[derive(Clone, Debug)]
pub(super) struct Polled {
    pub(super) version: String,
    pub(super) body: Bytes,
}

/// Messages to push, each with its kind.
pub(super) type Push = Vec<(Kind, Bytes)>;

#[derive(Deserialize)]
struct Body {
    version_info: String,
    type_url: String,
    resources: Vec<Assignment>,
}

#[derive(Deserialize)]
struct Assignment {
    cluster_name: Option<String>,
}

impl Store {
    pub(super) fn new(variant: Option<Variant>) -> Self {
        Self {
            variant,
            elements: BTreeMap::new(),
            answers: BTreeMap::new(),
            polled: BTreeMap::new(),
        }
    }

    /// Learns the messages of a file; returns those that a client must be sent unasked: all but
    /// assignments of clusters that nobody can have requested yet.
    pub(super) fn learn(&mut self, file: &Path) -> Result<Push, Error> {
        let recorded = fs::read(file).map_err(Error::io(format!("read {}", file.display())))?;
        let mut frames = Frames::default();
        frames.push(recorded.into());
        let mut push = Push::new();
        while let Some(message) = frames.message() {
            match self.variant {
                Some(variant) => push.extend(self.learn_answer(variant, &message)),
                None => push.extend(self.learn_body(&message)?),
            }
        }
        self.answers.clear();
        Ok(push)
    }

    fn learn_answer(&mut self, variant: Variant, message: &Bytes) -> Option<(Kind, Bytes)> {
        let answer = Answer::read(variant, message)?;
        let elements = self.elements.entry(answer.kind).or_default();
        let mut is_known = answer.kind != Kind::Endpoint;
        for resource in answer.resources() {
            let element = message.slice_ref(resource.element);
            let before = elements.insert(message.slice_ref(resource.name), element);
            is_known |= before.is_some();
        }
        is_known.then(|| (answer.kind, framed(&[message])))
    }

    fn learn_body(&mut self, message: &Bytes) -> Result<Option<(Kind, Bytes)>, Error> {
        let wrong = |error| Error::Worthless(format!("a recorded body is no answer: {error}"));
        let body: Body = serde_json::from_slice(message).map_err(wrong)?;
        let Some(kind) = Kind::of(body.type_url.as_bytes()) else {
            return Ok(None);
        };
        let mut names = body
            .resources
            .into_iter()
            .filter_map(|named| named.cluster_name);
        let name = names.next().unwrap_or_default();
        let polled = Polled {
            version: body.version_info,
            body: message.clone(),
        };
        self.polled.insert((kind, name), polled);
        Ok(Some((kind, message.clone())))
    }

    /// The answer to a poll.
    pub(super) fn polled(&self, kind: Kind, name: &str) -> Option<Polled> {
        self.polled.get(&(kind, name.to_owned())).cloned()
    }

    /// The answer to a request on a stream, framed. `names` are the fields of the request;
    /// without any, everything of the kind is meant.
    pub(super) fn answer(&mut self, variant: Variant, kind: Kind, names: &Bytes) -> Bytes {
        let key = (kind, XxHash3_128::oneshot(names));
        if let Some(answer) = self.answers.get(&key) {
            return answer.clone();
        }
        let elements = self.elements.get(&kind);
        let wanted: Vec<&Bytes> = if names.is_empty() {
            elements.into_iter().flat_map(BTreeMap::values).collect()
        } else {
            let mut wanted = Vec::new();
            for name in fields(names).all(NAMES_FIELD) {
                wanted.extend(elements.and_then(|elements| elements.get(name)));
            }
            wanted
        };
        let is_whole = variant == Variant::Sotw && matches!(kind, Kind::Cluster | Kind::Listener);
        let limit = if is_whole { usize::MAX } else { ANSWER_BYTES };
        let answer = encoded(kind, &wanted, limit);
        self.answers.insert(key, answer.clone());
        answer
    }
}

/// Framed answers with these elements; the numbers of the fields are those of both variants.
fn encoded(kind: Kind, elements: &[&Bytes], limit: usize) -> Bytes {
    let mut answers = BytesMut::new();
    let mut message = BytesMut::new();
    let mut elements = elements.iter().peekable();
    loop {
        if let Some(element) = elements.next() {
            put_field(&mut message, 2, element);
        }
        if message.len() >= limit || elements.peek().is_none() {
            put_field(&mut message, 1, b"1");
            put_field(&mut message, 4, kind.type_url().as_bytes());
            put_field(&mut message, 5, b"1");
            answers.extend_from_slice(&framed(&[&message]));
            message.clear();
        }
        if elements.peek().is_none() {
            return answers.freeze();
        }
    }
}
