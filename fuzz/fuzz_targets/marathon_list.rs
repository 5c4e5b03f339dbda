//! Any answer, read as each of those that Marathon gives; a list also in two pieces, which is the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use marathon_envoy::marathon::translate::{self, ListReader};

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let _ = translate::group(bytes);
    let _ = translate::app(bytes);
    let _ = translate::definition(bytes);
    let (first, second) = bytes.split_at(cut % (bytes.len() + 1));
    let mut reader = ListReader::of_apps();
    let in_pieces = reader
        .read(&[first])
        .and_then(|()| reader.read(&[second]))
        .and_then(|()| reader.finish());
    let whole = translate::apps(bytes);
    let in_words = |error: translate::TranslateError| error.to_string();
    assert_eq!(in_pieces.map_err(in_words), whole.map_err(in_words));
});
