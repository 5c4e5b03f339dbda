//! Any frame: the first line is its type, the rest its data.

#![no_main]

use libfuzzer_sys::fuzz_target;
use marathon_envoy::marathon::translate;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let event_type = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    if let Some(event_type) = event_type {
        let _ = translate::frame(event_type, lines.next().unwrap_or_default());
    }
});
