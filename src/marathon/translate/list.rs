//! A list of apps or of pods, translated while it arrives (pure).

use std::mem;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::error::{JsonFault, JsonPosition, TranslateError};
use super::item::{SharedParts, UnusableItem, listed_app};
use super::pod::listed_pod;
use crate::marathon::wire::{AppWithTasks, PodStatus, Text};
use crate::state::event::List;

/// Reader of a list of apps or of pods whose JSON comes in pieces, cut anywhere.
///
/// An app is read as soon as all of it has come, in one pass, and its JSON is forgotten: memory
/// follows the apps and not their JSON. One app that cannot be read costs only itself; bytes that are
/// no JSON cost the list, wherever they are.
#[derive(Debug)]
pub struct ListReader {
    form: ListForm,
    has_key: bool,
    place: Place,
    /// The bytes that were not read yet.
    rest: Vec<u8>,
    /// Position of the first of them in the answer.
    position: JsonPosition,
    /// Number of bytes from which on these are read again. It doubles with a value that does not
    /// come to its end: one in a thousand pieces is not read a thousand times.
    enough_bytes: usize,
    list: List,
    shared: SharedParts,
    /// Fault of the first app that cannot be read.
    first_fault: Option<TranslateError>,
}

/// Form of an answer with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListForm {
    /// An object that has the list of apps under this key.
    Apps { key: &'static str },
    /// The list of pods itself.
    Pods,
}

/// Place in the grammar of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the object.
    Start,
    /// Behind the brace that opens the object.
    FirstKey,
    /// Behind a comma of the object.
    Key,
    /// Behind a key.
    Colon(Key),
    /// Behind a colon.
    Value(Key),
    /// Behind a value of the object.
    AfterValue,
    /// Behind the bracket that opens the list.
    FirstApp,
    /// Behind a comma of the list.
    App,
    /// Behind an app.
    AfterApp,
    /// Behind the object, or behind the list where that is all.
    End,
}

/// A key of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// That of the list.
    List,
    /// Another one, whose value is skipped.
    Other,
}

/// Reads the whole answer to `GET /v2/apps?embed=apps.tasks`.
///
/// # Errors
///
/// As [`ListReader::finish`].
pub fn apps(body: &[u8]) -> Result<List, TranslateError> {
    ListReader::of_apps().whole(body)
}

/// Reads the whole answer to `GET /v2/apps/{group}/*`.
///
/// # Errors
///
/// As [`ListReader::finish`].
pub fn group(body: &[u8]) -> Result<List, TranslateError> {
    ListReader::of_group().whole(body)
}

/// Reads the whole answer to `GET /v2/pods/::status`.
///
/// # Errors
///
/// As [`ListReader::finish`].
pub fn pods(body: &[u8]) -> Result<List, TranslateError> {
    ListReader::of_pods().whole(body)
}

impl ListReader {
    /// Reader of the answer to `GET /v2/apps?embed=apps.tasks`.
    pub fn of_apps() -> Self {
        Self::new(ListForm::Apps { key: "apps" })
    }

    /// Reader of the answer to `GET /v2/apps/{group}/*`.
    pub fn of_group() -> Self {
        Self::new(ListForm::Apps { key: "*" })
    }

    /// Reader of the answer to `GET /v2/pods/::status`.
    pub fn of_pods() -> Self {
        Self::new(ListForm::Pods)
    }

    fn new(form: ListForm) -> Self {
        Self {
            form,
            has_key: false,
            place: Place::Start,
            rest: Vec::new(),
            position: JsonPosition::default(),
            enough_bytes: 0,
            list: List::default(),
            shared: SharedParts::default(),
            first_fault: None,
        }
    }

    fn whole(mut self, body: &[u8]) -> Result<List, TranslateError> {
        self.read(&[body])?;
        self.finish()
    }

    /// Reads the next pieces of the answer.
    ///
    /// # Errors
    ///
    /// When this cannot be an answer with a list, whatever follows.
    pub fn read<P: AsRef<[u8]>>(&mut self, pieces: &[P]) -> Result<(), TranslateError> {
        let pieces = pieces.iter().map(AsRef::as_ref);
        self.rest.reserve(pieces.clone().map(<[u8]>::len).sum());
        pieces.for_each(|piece| self.rest.extend_from_slice(piece));
        if self.rest.len() < self.enough_bytes {
            return Ok(());
        }
        // A number that ends with the bytes may not be whole, and nothing tells. None ends with one
        // of these.
        let is_safe = |byte: &u8| matches!(byte, b',' | b']' | b'}');
        let end = self.rest.iter().rposition(is_safe).map_or(0, |at| at + 1);
        self.read_up_to(end, false)
    }

    /// Returns the list, once all of the answer was read.
    ///
    /// # Errors
    ///
    /// When the answer is not a list of apps at all, or one of which no app can be read. An app that
    /// cannot be read, beside others, is listed as such.
    pub fn finish(mut self) -> Result<List, TranslateError> {
        self.read_up_to(self.rest.len(), true)?;
        let fault = match self.place {
            Place::End => match self.form {
                ListForm::Apps { key } if !self.has_key => format!("missing field `{key}`"),
                ListForm::Apps { .. } | ListForm::Pods => return self.listed(),
            },
            Place::Start | Place::Value(_) => "EOF while parsing a value".to_owned(),
            Place::FirstKey | Place::Key | Place::Colon(_) | Place::AfterValue => {
                "EOF while parsing an object".to_owned()
            }
            Place::FirstApp | Place::App | Place::AfterApp => "EOF while parsing a list".to_owned(),
        };
        let fault = JsonFault::of_end(fault).behind(self.position);
        Err(TranslateError::Json(fault))
    }

    /// The list. One of which no app can be read is none of Marathon's, or Marathon was not asked for
    /// what all of them lack.
    fn listed(self) -> Result<List, TranslateError> {
        match self.first_fault {
            Some(_) if self.form == ListForm::Pods => Ok(self.list),
            Some(why @ TranslateError::NoTasks { .. }) if self.list.apps.is_empty() => Err(why),
            Some(why) if self.list.apps.is_empty() => Err(TranslateError::NoApp {
                entries: self.list.unreadable.len(),
                first: Box::new(why),
            }),
            Some(_) | None => Ok(self.list),
        }
    }

    /// Reads as many of the bytes up to `end` as come to an end there, and forgets these.
    fn read_up_to(&mut self, end: usize, is_last: bool) -> Result<(), TranslateError> {
        let mut rest = mem::take(&mut self.rest);
        let (text, is_text) = text_of(rest.get(..end).unwrap_or_default());
        let mut unread = without_blanks(text);
        while let Some(first) = unread.as_bytes().first() {
            let step = self.step(*first, unread, is_last && is_text);
            let step = step.map_err(|fault| {
                let read = text.strip_suffix(unread).unwrap_or_default();
                TranslateError::Json(fault.behind(self.position.behind(read.as_bytes())))
            });
            let Some(length) = step? else {
                break;
            };
            unread = without_blanks(unread.get(length..).unwrap_or_default());
        }
        if !is_text {
            let fault = JsonFault::of_next_byte("invalid unicode code point");
            let fault = fault.behind(self.position.behind(text.as_bytes()));
            return Err(TranslateError::Json(fault));
        }
        let read = text.len() - unread.len();
        let position = text.get(..read).unwrap_or_default();
        self.position = self.position.behind(position.as_bytes());
        rest.drain(..read);
        self.enough_bytes = rest.len() * 2;
        self.rest = rest;
        Ok(())
    }

    /// Reads the next token, or the next value as a whole; the fault's position is relative to it.
    /// Returns its length; none if it may not have come to its end.
    fn step(&mut self, first: u8, text: &str, is_last: bool) -> Result<Option<usize>, JsonFault> {
        let next = match (self.place, first) {
            (Place::FirstKey | Place::Key, b'"') => return self.key(text, is_last),
            (Place::Value(Key::Other), _) => return self.skipped(text, is_last),
            (Place::Start, b'{') if self.form != ListForm::Pods => Ok(Place::FirstKey),
            (Place::Start, b'[') if self.form == ListForm::Pods => Ok(Place::FirstApp),
            (Place::FirstApp | Place::AfterApp, b']') if self.form == ListForm::Pods => {
                Ok(Place::End)
            }
            (Place::FirstKey | Place::AfterValue, b'}') => Ok(Place::End),
            (Place::AfterValue, b',') => Ok(Place::Key),
            (Place::Colon(key), b':') => Ok(Place::Value(key)),
            (Place::Value(Key::List), b'[') => Ok(Place::FirstApp),
            (Place::FirstApp | Place::AfterApp, b']') => Ok(Place::AfterValue),
            (Place::AfterApp, b',') => Ok(Place::App),
            (Place::Key, b'}') | (Place::App, b']') => Err("trailing comma"),
            (Place::FirstApp | Place::App, _) => return self.app(text, is_last),
            (Place::Start, _) if self.form == ListForm::Pods => Err("expected a list"),
            (Place::Start, _) => Err("expected an object"),
            (Place::FirstKey | Place::Key, _) => Err("key must be a string"),
            (Place::Colon(_), _) => Err("expected `:`"),
            (Place::Value(Key::List), _) => Err("expected a list"),
            (Place::AfterValue, _) => Err("expected `,` or `}`"),
            (Place::AfterApp, _) => Err("expected `,` or `]`"),
            (Place::End, _) => Err("trailing characters"),
        };
        self.place = next.map_err(JsonFault::of_next_byte)?;
        Ok(Some(1))
    }

    fn key(&mut self, text: &str, is_last: bool) -> Result<Option<usize>, JsonFault> {
        let Some((key, length)) = value::<Text<'_>>(text, is_last)? else {
            return Ok(None);
        };
        let is_list = matches!(self.form, ListForm::Apps { key: of_list } if *key == *of_list);
        if is_list && mem::replace(&mut self.has_key, true) {
            let fault = format!("duplicate field `{}`", &*key);
            return Err(JsonFault::of_next_byte(fault));
        }
        self.place = Place::Colon(if is_list { Key::List } else { Key::Other });
        Ok(Some(length))
    }

    fn skipped(&mut self, text: &str, is_last: bool) -> Result<Option<usize>, JsonFault> {
        let skipped = value::<IgnoredAny>(text, is_last)?;
        let length = skipped.map(|(_, length)| length);
        if length.is_some() {
            self.place = Place::AfterValue;
        }
        Ok(length)
    }

    fn app(&mut self, text: &str, is_last: bool) -> Result<Option<usize>, JsonFault> {
        let read = match self.form {
            ListForm::Apps { .. } => value::<AppWithTasks<'_>>(text, true)
                .map(|read| read.map(|(app, length)| (listed_app(app, &mut self.shared), length))),
            ListForm::Pods => value::<PodStatus<'_>>(text, true)
                .map(|read| read.map(|(pod, length)| (listed_pod(pod, &mut self.shared), length))),
        };
        let (app, length) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(None),
            // It is another value, or has not come to its end, or is none.
            Err(error) => match value::<&RawValue>(text, is_last)? {
                Some((raw, length)) => (Err(UnusableItem::unread(raw, error)), length),
                None => return Ok(None),
            },
        };
        match app {
            Ok(app) => self.list.apps.push(app),
            Err(unusable) => {
                let is_pod = self.form == ListForm::Pods;
                self.list.unreadable.push(unusable.unreadable(is_pod));
                self.first_fault.get_or_insert(unusable.why);
            }
        }
        self.place = Place::AfterApp;
        Ok(Some(length))
    }
}

/// The text that bytes begin with, and whether it is all of them. Checked here once, it is not checked
/// again string by string.
fn text_of(bytes: &[u8]) -> (&str, bool) {
    match str::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            (str::from_utf8(good).unwrap_or_default(), false)
        }
    }
}

/// JSON from the first character on that is no white space.
fn without_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

/// The value that a text begins with, and its length; none if it may not have come to its end.
fn value<'a, T: Deserialize<'a>>(
    text: &'a str,
    is_last: bool,
) -> Result<Option<(T, usize)>, serde_json::Error> {
    let mut values = Deserializer::from_str(text).into_iter();
    match values.next() {
        Some(Ok(value)) => Ok(Some((value, values.byte_offset()))),
        Some(Err(error)) if is_last || !error.is_eof() => Err(error),
        Some(Err(_)) | None => Ok(None),
    }
}
