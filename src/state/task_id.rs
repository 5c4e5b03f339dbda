//! Ids of tasks and of their instances.
//!
//! Marathon makes the id of a task of the path of its app and a uuid, with more around the latter
//! from version to version. There are as many ids as tasks, so one of a known form has no text of its
//! own: the path is the app's, and the rest are numbers.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::app::AppId;

/// Characters of a uuid, hyphens included.
const UUID_LENGTH: usize = 36;

/// Bytes of the longest text behind the path of an app: `.instance-<uuid>._app.65535`.
const MAX_TAIL: usize = 64;

/// The id of a task: `shop_web.instance-<uuid>._app.1`, or an older form. Ordered as text. Cheap to
/// clone.
///
/// The app cannot be told from it: `_` stands for `/` and for itself.
#[derive(Clone)]
pub struct TaskId(IdText);

/// The part that a task id and an instance id have in common, so that either finds the other:
/// `shop_web.<uuid>`, whatever stands around the uuid in this version of Marathon. Ordered as text.
/// Cheap to clone.
#[derive(Clone)]
pub struct InstanceId(IdText);

/// A text that is an id.
#[derive(Clone)]
enum IdText {
    /// `<path of the app>.<marker><uuid><end>`, the path without its first slash and with `_` for the
    /// others.
    OfApp {
        app: AppId,
        uuid: [u8; 16],
        marker: Marker,
        end: End,
    },
    /// Any other.
    Other(Arc<str>),
}

/// The text before a uuid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Instance,
    Marathon,
}

/// The text behind a uuid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    None,
    /// `.3`, the attempt.
    Number(u16),
    /// `._app`, the one container of an instance of an app.
    App,
    /// `._app.3`.
    AppNumber(u16),
}

/// The place of an instance in an id: the id without its middle, up to its end.
struct InstancePlace {
    middle: Range<usize>,
    end: usize,
    /// True for a container of an instance of a pod.
    is_in_pod: bool,
}

impl TaskId {
    /// The id of a task of this app, of which it takes the path if it can.
    pub fn of(app: &AppId, text: &str) -> Self {
        Self(IdText::of(app, text))
    }

    /// The instance that it is a task of.
    ///
    /// `a_b.marathon-<uuid>`, `a_b.<uuid>`, `a_b.<uuid>.3`, `a_b.instance-<uuid>` and
    /// `a_b.instance-<uuid>._app.3` all are of the instance `a_b.<uuid>`; so is
    /// `a_b.instance-<uuid>.<container>`, with or without a number, of a pod.
    pub fn instance(&self) -> InstanceId {
        match &self.0 {
            IdText::OfApp { app, uuid, .. } => InstanceId(IdText::OfApp {
                app: app.clone(),
                uuid: *uuid,
                marker: Marker::None,
                end: End::None,
            }),
            IdText::Other(text) => {
                let InstancePlace { middle, end, .. } = place_of_instance(text);
                let part = |part: Range<usize>| text.get(part).unwrap_or_default();
                let (before, after) = (part(0..middle.start), part(middle.end..end));
                match before.len() + after.len() == text.len() {
                    true => InstanceId(IdText::Other(text.clone())),
                    false => InstanceId(IdText::Other([before, after].concat().into())),
                }
            }
        }
    }

    /// True if it is a task of this instance.
    pub fn is_of(&self, instance: &InstanceId) -> bool {
        self.0.has_same_instance(&instance.0)
    }

    /// True if both are tasks of one instance.
    pub fn has_same_instance(&self, other: &Self) -> bool {
        self.0.has_same_instance(&other.0)
    }

    /// True if it has the form of a container of an instance of a pod.
    pub fn is_in_pod(&self) -> bool {
        match &self.0 {
            IdText::OfApp { marker, end, .. } => {
                *marker == Marker::Instance && matches!(end, End::Number(_))
            }
            IdText::Other(text) => place_of_instance(text).is_in_pod,
        }
    }

    /// The text behind its instance and a dot: `_app.1`; none if there is none.
    pub(super) fn behind_instance(&self) -> Option<Cow<'_, str>> {
        let end: Cow<'_, str> = match &self.0 {
            IdText::OfApp { end, .. } => match end {
                End::None => return None,
                End::App => "._app".into(),
                End::Number(number) => format!(".{number}").into(),
                End::AppNumber(number) => format!("._app.{number}").into(),
            },
            IdText::Other(text) => text.get(place_of_instance(text).end..)?.into(),
        };
        match end {
            Cow::Borrowed(end) => Some(end.strip_prefix('.')?.into()),
            Cow::Owned(end) => Some(end.strip_prefix('.')?.to_owned().into()),
        }
    }
}

impl InstanceId {
    /// The instance that the id of a task or of an instance of this app names, in any form.
    pub fn of(app: &AppId, text: &str) -> Self {
        TaskId::of(app, text).instance()
    }
}

impl IdText {
    fn of(app: &AppId, text: &str) -> Self {
        Self::in_parts(app, text).unwrap_or_else(|| Self::Other(text.into()))
    }

    /// The text without a text of its own; none if it has another form.
    fn in_parts(app: &AppId, text: &str) -> Option<Self> {
        let path = path_of(app);
        let (before, rest) = text.split_at_checked(path.len())?;
        if !path.bytes().map(in_id).eq(before.bytes()) {
            return None;
        }
        let rest = rest.strip_prefix('.')?;
        let (marker, rest) = Marker::ALL.into_iter().find_map(|marker| {
            let rest = rest.strip_prefix(marker.as_str())?;
            Some((marker, rest))
        })?;
        let (uuid, end) = rest.split_at_checked(UUID_LENGTH)?;
        Some(Self::OfApp {
            app: app.clone(),
            uuid: parsed_uuid(uuid)?,
            marker,
            end: End::parse(end)?,
        })
    }

    /// The text.
    fn bytes(&self) -> impl Iterator<Item = u8> {
        let (path, is_mapped, tail) = match self {
            Self::OfApp {
                app,
                uuid,
                marker,
                end,
            } => (path_of(app), true, Tail::new(*marker, *uuid, *end)),
            Self::Other(text) => (&**text, false, Tail::default()),
        };
        path_bytes(path, is_mapped).chain(tail)
    }

    /// True if both name one instance. The id of an instance names itself.
    fn has_same_instance(&self, other: &Self) -> bool {
        if let (
            Self::OfApp { app, uuid, .. },
            Self::OfApp {
                app: a, uuid: u, ..
            },
        ) = (self, other)
            && app == a
        {
            return uuid == u;
        }
        self.instance_bytes().eq(other.instance_bytes())
    }

    /// The text of the instance.
    fn instance_bytes(&self) -> impl Iterator<Item = u8> {
        let (path, is_mapped, tail, after) = match self {
            Self::OfApp { app, uuid, .. } => {
                let tail = Tail::new(Marker::None, *uuid, End::None);
                (path_of(app), true, tail, "")
            }
            Self::Other(text) => {
                let InstancePlace { middle, end, .. } = place_of_instance(text);
                let part = |part: Range<usize>| text.get(part).unwrap_or_default();
                let (before, after) = (part(0..middle.start), part(middle.end..end));
                (before, false, Tail::default(), after)
            }
        };
        path_bytes(path, is_mapped).chain(tail).chain(after.bytes())
    }
}

fn path_bytes(path: &str, is_mapped: bool) -> impl Iterator<Item = u8> {
    let bytes = path.bytes();
    bytes.map(move |byte| if is_mapped { in_id(byte) } else { byte })
}

/// The path of an app without its first slash.
fn path_of(app: &AppId) -> &str {
    let path = app.as_str();
    path.strip_prefix('/').unwrap_or(path)
}

/// A byte of a path as it is in ids.
fn in_id(byte: u8) -> u8 {
    match byte {
        b'/' => b'_',
        other => other,
    }
}

impl Marker {
    /// All, those with a text first.
    const ALL: [Self; 3] = [Self::Instance, Self::Marathon, Self::None];

    fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Instance => "instance-",
            Self::Marathon => "marathon-",
        }
    }
}

impl End {
    fn parse(text: &str) -> Option<Self> {
        // `007` is not the text of a number.
        let number = |text: &str| {
            let number: u16 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        };
        if text.is_empty() {
            return Some(Self::None);
        }
        match text.strip_prefix("._app") {
            Some("") => Some(Self::App),
            Some(rest) => number(rest.strip_prefix('.')?).map(Self::AppNumber),
            None => number(text.strip_prefix('.')?).map(Self::Number),
        }
    }
}

/// The bytes behind the path of an app.
struct Tail {
    bytes: [u8; MAX_TAIL],
    next: usize,
    end: usize,
}

impl Default for Tail {
    /// None.
    fn default() -> Self {
        Self {
            bytes: [0; MAX_TAIL],
            next: 0,
            end: 0,
        }
    }
}

impl Tail {
    fn new(marker: Marker, uuid: [u8; 16], end: End) -> Self {
        let mut tail = Self::default();
        tail.put(b".");
        tail.put(marker.as_str().as_bytes());
        for (place, byte) in uuid.into_iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                tail.put(b"-");
            }
            tail.put(&[hexadecimal(byte >> 4), hexadecimal(byte & 15)]);
        }
        match end {
            End::None => {}
            End::App => tail.put(b"._app"),
            End::Number(number) => tail.put_number(b".", number),
            End::AppNumber(number) => tail.put_number(b"._app.", number),
        }
        tail
    }

    fn put(&mut self, bytes: &[u8]) {
        let to = self.bytes.get_mut(self.end..self.end + bytes.len());
        if let Some(to) = to {
            to.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    fn put_number(&mut self, before: &[u8], number: u16) {
        self.put(before);
        let mut is_leading = true;
        for power in [10_000, 1_000, 100, 10, 1] {
            let digit = number / power % 10;
            is_leading &= digit == 0 && power > 1;
            if !is_leading {
                // One digit.
                self.put(&[b'0' + u8::try_from(digit).unwrap_or_default()]);
            }
        }
    }
}

impl Iterator for Tail {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.next..self.end)?.first().copied();
        self.next += 1;
        byte
    }
}

fn hexadecimal(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

/// The bytes of a uuid in lower case.
fn parsed_uuid(text: &str) -> Option<[u8; 16]> {
    if !is_uuid(text) {
        return None;
    }
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    let mut digit = || match digits.next()? {
        byte @ b'0'..=b'9' => Some(byte - b'0'),
        byte @ b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = digit()? << 4 | digit()?;
    }
    Some(uuid)
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_LENGTH
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn place_of_instance(id: &str) -> InstancePlace {
    let mut end = id.len();
    // From the right: an app's path may hold dots and, oddly, uuids; the text right of the
    // instance's uuid may not.
    for segment in id.rsplit('.') {
        let start = end - segment.len();
        let (of_instance, bare) = match segment.strip_prefix("instance-") {
            Some(bare) => (true, bare),
            None => (false, segment.strip_prefix("marathon-").unwrap_or(segment)),
        };
        if is_uuid(bare) {
            let after = id.get(end..).unwrap_or_default().strip_prefix('.');
            let container = after.and_then(|after| after.split('.').next());
            return InstancePlace {
                middle: start..end - bare.len(),
                end,
                is_in_pod: of_instance && container.is_some_and(|name| name != "_app"),
            };
        }
        end = start.saturating_sub(1);
    }
    InstancePlace {
        middle: 0..0,
        end: id.len(),
        is_in_pod: false,
    }
}

impl PartialEq for IdText {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for IdText {}

impl PartialOrd for IdText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IdText {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Other(one), Self::Other(other)) => one.cmp(other),
            (
                Self::OfApp {
                    app,
                    uuid,
                    marker,
                    end,
                },
                Self::OfApp {
                    app: other_app,
                    uuid: other_uuid,
                    marker: other_marker,
                    end: other_end,
                },
            ) if marker == other_marker && app == other_app => {
                // Digits and letters of lower case are in the order of what they stand for.
                uuid.cmp(other_uuid).then_with(|| {
                    if end == other_end {
                        return Ordering::Equal;
                    }
                    self.bytes().cmp(other.bytes())
                })
            }
            _ => self.bytes().cmp(other.bytes()),
        }
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
            Self::OfApp {
                app,
                uuid,
                marker,
                end,
            } => {
                for (place, part) in path_of(app).split('/').enumerate() {
                    if place > 0 {
                        f.write_str("_")?;
                    }
                    f.write_str(part)?;
                }
                let tail = Tail::new(*marker, *uuid, *end);
                let text = tail.bytes.get(..tail.end).unwrap_or_default();
                f.write_str(str::from_utf8(text).unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// What both ids have in common with their text.
macro_rules! as_text {
    ($id:ident) => {
        impl From<&str> for $id {
            fn from(text: &str) -> Self {
                Self(IdText::Other(text.into()))
            }
        }

        impl PartialEq for $id {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }

        impl Eq for $id {}

        impl PartialOrd for $id {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $id {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.cmp(&other.0)
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

as_text!(TaskId);
as_text!(InstanceId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "9a3f2c00-0000-11ea-8000-000000000001";

    fn instance(text: &str) -> InstanceId {
        TaskId::from(text).instance()
    }

    #[test]
    fn every_form_of_an_app_s_ids_meets_in_one_instance() {
        let app = AppId::from("/shop/web");
        let expected = InstanceId::from(format!("shop_web.{UUID}").as_str());
        for form in [
            "shop_web.U",
            "shop_web.U.3",
            "shop_web.marathon-U",
            "shop_web.instance-U",
            "shop_web.instance-U._app",
            "shop_web.instance-U._app.1",
            "shop_web.instance-U._app.12",
        ] {
            let text = form.replace('U', UUID);
            let id = TaskId::of(&app, &text);
            assert!(matches!(id.0, IdText::OfApp { .. }), "{id}");
            assert_eq!(
                (id.instance(), id.to_string()),
                (expected.clone(), text.clone())
            );
            assert_eq!(instance(&text), expected, "{text}");
            assert!(id.is_of(&expected) && id.has_same_instance(&TaskId::from(&*text)));
            // Another app whose path is the same in ids.
            let twin = TaskId::of(&"/shop_web".into(), &text);
            assert!(twin == id && twin.has_same_instance(&id) && twin.is_of(&id.instance()));
            assert!(!id.is_in_pod() && !TaskId::from(&*text).is_in_pod());
            assert_eq!(id.behind_instance(), TaskId::from(&*text).behind_instance());
        }
    }

    #[test]
    fn dots_and_uuids_in_an_app_s_path_do_not_confuse() {
        let id = format!("my.app_{UUID}.instance-{UUID}._app.1");
        let expected = format!("my.app_{UUID}.{UUID}");
        assert_eq!(instance(&id), InstanceId::from(&*expected));
        let id = format!("a.{UUID}.{UUID}");
        assert_eq!(instance(&id), InstanceId::from(&*id));
    }

    #[test]
    fn a_pod_s_container_is_no_app_task() {
        for form in ["p.instance-U.frontend", "p.instance-U.frontend.1"] {
            let id = TaskId::of(&"/p".into(), &form.replace('U', UUID));
            assert_eq!(
                id.instance(),
                InstanceId::from(format!("p.{UUID}").as_str())
            );
            assert!(id.is_in_pod());
            let behind = id.behind_instance().unwrap();
            assert!(form.ends_with(&format!("U.{behind}")));
        }
        assert!(!TaskId::from(format!("p.instance-{UUID}").as_str()).is_in_pod());
    }

    #[test]
    fn an_id_of_no_known_form_is_itself() {
        for id in ["", ".", "..", "web", "web.1", "instance-", "é.ü"] {
            assert_eq!(instance(id), InstanceId::from(id));
        }
    }

    fn app() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("/a".to_owned()),
            Just("/a/b".into()),
            Just("/a_b".into()),
            "(/[a-c.é]{1,3}){1,2}"
        ]
    }

    /// Ids of all forms, and such as are nearly of one.
    fn text() -> impl Strategy<Value = String> {
        let path = prop_oneof![Just("a".to_owned()), Just("a_b".into()), "[a-cé_.]{0,4}"];
        let marker = prop_oneof![Just(""), Just("instance-"), Just("marathon-"), Just("x-")];
        let uuid = prop_oneof![
            "[0-1a]{8}-[0-1]{4}-0000-0000-00000000000[0-1a-b]",
            "[0-1A]{8}-[0-1]{4}-0000-0000-000000000000",
            "[0-9a-f-]{35,37}",
        ];
        let end = prop_oneof![
            Just(String::new()),
            Just("._app".into()),
            "\\.[0-9]{1,6}",
            "\\._app\\.[0-9]{1,6}",
            "\\.[a-z]{1,2}(\\.[0-9])?",
        ];
        (path, marker, uuid, end)
            .prop_map(|(path, marker, uuid, end)| format!("{path}.{marker}{uuid}{end}"))
    }

    proptest! {
        #[test]
        fn ids_are_what_their_texts_are(one in text(), two in text(), apps in (app(), app())) {
            let [a, b] = [&apps.0, &apps.1].map(|app| AppId::from(&**app));
            let forms = |text: &str| [TaskId::from(text), TaskId::of(&a, text), TaskId::of(&b, text)];
            for first in forms(&one) {
                prop_assert_eq!(first.to_string(), &*one);
                prop_assert_eq!(first.instance().to_string(), instance(&one).to_string());
                prop_assert_eq!(first.is_in_pod(), TaskId::from(&*one).is_in_pod());
                for second in forms(&two) {
                    prop_assert_eq!(first.cmp(&second), one.cmp(&two));
                    let same = instance(&one) == instance(&two);
                    prop_assert_eq!(first.has_same_instance(&second), same);
                    prop_assert_eq!(first.is_of(&second.instance()), same);
                    prop_assert_eq!(first.instance() == second.instance(), same);
                }
            }
        }
    }
}
