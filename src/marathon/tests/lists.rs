//! Lists that come in pieces, against the same bytes read as a whole.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::reading::any_json;
use crate::marathon::Error;
use crate::marathon::json_body::JsonBody;
use crate::marathon::translate::{self, ListReader, TranslateError};
use crate::state::event::{Event, List, ListedApp};

/// The list in bytes that come in these pieces.
fn read_in(pieces: &[&[u8]]) -> Result<List, TranslateError> {
    let mut reader = ListReader::of_apps();
    for piece in pieces {
        reader.read(&[piece])?;
    }
    reader.finish()
}

/// What was read, errors in words, so that two can be compared.
fn in_words(read: Result<List, TranslateError>) -> Result<List, String> {
    read.map_err(|error| error.to_string())
}

fn error_of(body: &str) -> String {
    translate::apps(body.as_bytes()).unwrap_err().to_string()
}

fn app(id: &str) -> Value {
    json!({
        "id": id, "version": "2020-07-14T10:00:00.120Z", "ports": [10001, 10002],
        "labels": {"é\n\"\\": "\u{1f980}]},", "b": null}, "env": {"deep": [[[{"a": [-1.5e3, true]}]]]},
        "tasks": [{"id": format!("{id}.1"), "host": "10.0.0.1", "state": "TASK_RUNNING", "ports": [31000]}],
    })
}

#[test]
fn a_list_may_be_cut_in_two_anywhere() {
    let list = json!({"other": -12.5e-1, "apps": [app("/a"), null, app("/ü"), 7], "more": "[{\\"});
    for body in [list.to_string(), format!("{list:#}\n")] {
        // Serde writes no escapes where it need not.
        let body = body.replace('ü', "\\u00fc").replace('🦀', "\\ud83e\\udd80");
        let whole = translate::apps(body.as_bytes()).unwrap();
        assert_eq!((whole.apps.len(), whole.unreadable.len()), (2, 2));
        assert_eq!(whole.apps[1].app.id.as_str(), "/ü");
        for cut in 0..=body.len() {
            let (first, second) = body.as_bytes().split_at(cut);
            assert_eq!(read_in(&[first, second]).unwrap(), whole, "{cut}");
        }
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(read_in(&bytes).unwrap(), whole);
        for cut in 0..body.trim_end().len() {
            let broken_off = read_in(&[&body.as_bytes()[..cut]]);
            assert_eq!(broken_off.unwrap_err().reason(), "json", "{cut}");
        }
    }
}

#[test]
fn what_is_no_json_costs_the_list_and_is_named_by_its_position() {
    for (body, fault) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        (" \n ", "EOF while parsing a value at line 2 column 1"),
        ("<html>", "expected an object at line 1 column 1"),
        ("\u{feff}{}", "expected an object at line 1 column 1"),
        (
            r#"[[{"id":"/a"}]]"#,
            "expected an object at line 1 column 1",
        ),
        ("{}", "missing field `apps` at line 1 column 2"),
        (r#"{"*":[]}"#, "missing field `apps` at line 1 column 8"),
        (
            r#"{"x":{"apps":[]}}"#,
            "missing field `apps` at line 1 column 17",
        ),
        (r#"{"apps":null}"#, "expected a list at line 1 column 9"),
        (r#"{"apps":{}}"#, "expected a list at line 1 column 9"),
        (
            "{\"apps\":[]\n,\"apps\":[]}",
            "duplicate field `apps` at line 2 column 2",
        ),
        (
            "{\"apps\":[],\"\\u0061pps\":[]}",
            "duplicate field `apps` at line 1 column 12",
        ),
        (r#"{"apps":[]}}"#, "trailing characters at line 1 column 12"),
        (
            r#"{"apps":[]"#,
            "EOF while parsing an object at line 1 column 10",
        ),
        (r#"{"apps":[],}"#, "trailing comma at line 1 column 12"),
        (
            r#"{"apps":[],1:2}"#,
            "key must be a string at line 1 column 12",
        ),
        (r#"{"apps" []}"#, "expected `:` at line 1 column 9"),
        (
            r#"{"apps":[] "x":1}"#,
            "expected `,` or `}` at line 1 column 12",
        ),
        (
            r#"{"apps":[],"x":nul}"#,
            "expected ident at line 1 column 19",
        ),
        (r#"{"apps":[7,]}"#, "trailing comma at line 1 column 12"),
        (r#"{"apps":[,7]}"#, "expected value at line 1 column 10"),
        (
            r#"{"apps":[7 7]}"#,
            "expected `,` or `]` at line 1 column 12",
        ),
        (
            "{\"apps\":[\n7,\n{\"a\":nul}]}",
            "expected ident at line 3 column 9",
        ),
        (
            r#"{"apps":[{"a":"#,
            "EOF while parsing a value at line 1 column 14",
        ),
    ] {
        assert_eq!(
            error_of(body),
            format!("cannot read the JSON: {fault}"),
            "{body}"
        );
    }
    // Strings that nobody reads are looked at all the same.
    let text = r#"{"apps":[{"id":"/a","tasks":[],"x":"?"}]}"#;
    let mut body = text.as_bytes().to_vec();
    body[text.find('?').unwrap()] = 0xff;
    let error = translate::apps(&body).unwrap_err().to_string();
    assert!(
        error.ends_with("invalid unicode code point at line 1 column 37"),
        "{error}"
    );
}

#[test]
fn depth_is_no_fault() {
    let depth = 100_000;
    let deep = "[".repeat(depth) + &"]".repeat(depth);
    let body = format!(r#"{{"x":{deep},"apps":[{{"id":"/a","tasks":[],"env":{deep}}},{deep}]}}"#);
    let list = translate::apps(body.as_bytes()).unwrap();
    assert_eq!((list.apps.len(), list.unreadable.len()), (1, 1));
}

/// A list as serde_json reads it as a whole: the apps, and the number of those that cannot be read.
/// It must be text wherever it is read or not.
fn by_serde(body: &[u8]) -> Result<(Vec<ListedApp>, usize), Box<dyn std::error::Error>> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        apps: Vec<&'a RawValue>,
    }
    let whole: Whole<'_> = serde_json::from_str(str::from_utf8(body)?)?;
    let app = |raw: &&RawValue| {
        let alone = format!(r#"{{"app":{}}}"#, raw.get());
        match translate::app(alone.as_bytes()) {
            Ok(Event::AppChanged(app)) => Some(app),
            Ok(_) | Err(_) => None,
        }
    };
    let apps: Vec<_> = whole.apps.iter().filter_map(app).collect();
    let unreadable = whole.apps.len() - apps.len();
    Ok((apps, unreadable))
}

/// Bytes that resemble a list: some are one, in others a few bytes are wrong.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let item = prop_oneof![
        3 => prop::sample::select(vec!["/a", "/b"]).prop_map(app),
        2 => any_json(),
    ];
    let list = prop::collection::vec(item, 0..5);
    let document = (list, any_json(), 0..6).prop_map(|(list, other, form)| match form {
        0 => json!({ "apps": list }).to_string(),
        1 => format!("{:#}", json!({ "apps": list })),
        2 => json!({ "aa": other, "apps": list, "b": {"apps": []} }).to_string(),
        3 => format!(
            " {{\"apps\" : {:#}\r,\t\"b\":{other} }}\n",
            Value::from(list)
        ),
        4 => format!("{{\"\\u0061pps\":{},\"b\":{other}}}", Value::from(list)),
        _ => other.to_string(),
    });
    let bad = prop_oneof![
        prop::sample::select(b"{}[]\",:\\ \n0-.eEt\x00\xff\xc3".to_vec()),
        any::<u8>(),
    ];
    let edits = prop::collection::vec((any::<Index>(), 0..4, bad), 0..3);
    (document, edits).prop_map(|(document, edits)| {
        let mut body = document.into_bytes();
        for (at, edit, byte) in edits {
            let at = at.index(body.len().max(1)).min(body.len());
            match edit {
                0 => body.insert(at, byte),
                1 => body.truncate(at),
                _ if at == body.len() => {}
                2 => body[at] = byte,
                _ => drop(body.remove(at)),
            }
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_read_is_what_serde_json_reads(body in bodies()) {
        let read = translate::apps(&body);
        let is_object = body.trim_ascii_start().starts_with(b"{");
        match by_serde(&body) {
            Ok((apps, unreadable)) if is_object => match read {
                Ok(list) => prop_assert_eq!((list.apps, list.unreadable.len()), (apps, unreadable)),
                Err(error) => {
                    prop_assert!(error.reason() != "json", "{}", error);
                    prop_assert!(apps.is_empty() && unreadable > 0, "{}", error);
                }
            },
            Ok(_) | Err(_) => prop_assert_eq!(read.unwrap_err().reason(), "json"),
        }
    }

    #[test]
    fn cuts_change_nothing(body in bodies(), cuts in prop::collection::vec(any::<Index>(), 0..8)) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut begin = 0;
        for cut in cuts {
            pieces.push(&body[begin..cut]);
            begin = cut;
        }
        pieces.push(&body[begin..]);
        prop_assert_eq!(in_words(read_in(&pieces)), in_words(translate::apps(&body)));
    }
}

/// A body in frames of 100,000 bytes.
fn in_frames(body: String, limit_bytes: usize) -> JsonBody<impl AnyBody> {
    let frames: Vec<_> = body
        .as_bytes()
        .chunks(100_000)
        .map(Bytes::copy_from_slice)
        .collect();
    let frames = frames
        .into_iter()
        .map(|frame| Ok::<_, Infallible>(Frame::data(frame)));
    JsonBody {
        path: "/v2/apps".to_owned(),
        body: StreamBody::new(futures_util::stream::iter(frames)),
        limit_bytes,
    }
}

trait AnyBody: hyper::body::Body<Data = Bytes, Error = Infallible> + Unpin {}

impl<B: hyper::body::Body<Data = Bytes, Error = Infallible> + Unpin> AnyBody for B {}

#[tokio::test]
async fn a_body_of_several_batches_is_one_list() {
    let apps: Vec<_> = (0..12_000)
        .map(|number| app(&format!("/{number}")))
        .collect();
    let body = json!({ "apps": apps }).to_string();
    assert!(body.len() > 2_200_000);
    let whole = translate::apps(body.as_bytes()).unwrap();
    let reading = in_frames(body.clone(), body.len()).list(ListReader::of_apps());
    assert_eq!(reading.await.unwrap(), whole);
    let reading = in_frames(body.clone(), body.len() - 1).list(ListReader::of_apps());
    assert!(matches!(reading.await, Err(Error::TooLarge { .. })));
    // Its first fault counts, in the first batch or in the last one.
    for (fault, column) in [(0, 1), (body.len() - 1, body.len())] {
        let mut body = body.clone();
        body.replace_range(fault..=fault, "?");
        let reading = in_frames(body.clone(), body.len()).list(ListReader::of_apps());
        let error = reading.await.unwrap_err();
        assert_eq!(error.reason(), "unreadable");
        let error = error.to_string();
        assert!(
            error.ends_with(&format!("at line 1 column {column}")),
            "{error}"
        );
    }
}
