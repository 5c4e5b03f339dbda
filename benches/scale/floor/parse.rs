//! The floor of a cold start: the list of apps, parsed into the fields that any control plane needs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::error::Error;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    apps: Vec<App<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only read from JSON")]
struct App<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    tasks: Vec<Task<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only read from JSON")]
struct Task<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    ports: Vec<u16>,
}

/// A parsed list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parsed {
    pub(crate) apps: usize,
    pub(crate) tasks: usize,
    pub(crate) time: Duration,
}

/// Parses a list once.
pub(crate) fn parse(list: &[u8]) -> Result<Parsed, Error> {
    let started = Instant::now();
    let parsed: List<'_> = serde_json::from_slice(black_box(list))
        .map_err(|error| Error::Worthless(format!("the list is no list of apps: {error}")))?;
    let time = started.elapsed();
    let parsed = black_box(parsed);
    Ok(Parsed {
        apps: parsed.apps.len(),
        tasks: parsed.apps.iter().map(|app| app.tasks.len()).sum(),
        time,
    })
}
