//! Any answer, read as each of those that Marathon gives.

#![no_main]

use libfuzzer_sys::fuzz_target;
use marathon_envoy::marathon::translate;

fuzz_target!(|bytes: &[u8]| {
    let _ = translate::apps(bytes);
    let _ = translate::group(bytes);
    let _ = translate::app(bytes);
    let _ = translate::definition(bytes);
});
