//! `changes`: prints what changed of which app, as a running daemon tells it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::admin_port::{AdminPort, Error, OutputForm, asked, json_page, print};
use super::terminal::say;
use super::text_table::{TextTable, harmless};
use crate::admin::parse_age;
use crate::daemon::Causes;

/// The page of the last ten minutes.
pub(super) const RECENT: &str = "/changes?since=600";

/// Most changes that [`latest`](ChangesPage::latest) shows.
const LATEST: usize = 5;

/// Arguments of `changes`.
#[derive(Args, Clone, Debug)]
pub(super) struct ChangesArguments {
    /// Id of the app; with a `*` at its end, all that begin so. Without one, all apps.
    #[arg(value_name = "APP")]
    app: Option<String>,

    /// Age of the oldest change: 90s, 10m, 2h.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_age)]
    since: Duration,

    #[command(flatten)]
    admin: AdminPort,

    /// Form of the output: a table, or the page of the admin port as JSON.
    #[arg(long, value_name = "table|json", default_value = "table")]
    output: OutputForm,
}

impl ChangesArguments {
    /// The page that shows them.
    fn path(&self) -> String {
        let since = self.since.as_secs();
        let app = self.app.as_ref().map(|app| {
            let root = if app.starts_with('/') { "" } else { "/" };
            let app = format!("{root}{app}");
            format!("&app={}", utf8_percent_encode(&app, NON_ALPHANUMERIC))
        });
        format!("/changes?since={since}{}", app.unwrap_or_default())
    }
}

/// The page `/changes`.
#[derive(Debug, Deserialize)]
pub(super) struct ChangesPage {
    changes: Vec<ChangeRow>,
    #[serde(default)]
    forgotten: u64,
}

#[derive(Debug, Deserialize)]
struct ChangeRow {
    app: Option<String>,
    what: Vec<ChangedPart>,
    by: Vec<String>,
    heard: Option<String>,
    published_after_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct ChangedPart {
    text: String,
}

/// Prints the changes. Exit code 1 when the daemon does not answer.
pub(super) fn run(arguments: &ChangesArguments) -> ExitCode {
    match ask_and_print(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", Causes(&error)));
            ExitCode::FAILURE
        }
    }
}

fn ask_and_print(arguments: &ChangesArguments) -> Result<(), Error> {
    let page = asked(json_page(arguments.admin.address(), &arguments.path()))?;
    print(&match arguments.output {
        OutputForm::Table => ChangesPage::read(&page)?.text(),
        OutputForm::Json => format!("{page:#}\n"),
    })
}

impl ChangesPage {
    /// Reads the page.
    ///
    /// # Errors
    ///
    /// When it is not that of this program.
    pub(super) fn read(page: &Value) -> Result<Self, Error> {
        Self::deserialize(page).map_err(Error::Parse)
    }

    /// The changes as a table, the oldest first.
    fn text(&self) -> String {
        let mut text = match self.changes.as_slice() {
            [] => "no changes in this time\n".to_owned(),
            changes => table(changes),
        };
        if self.forgotten > 0 {
            let forgotten = self.forgotten;
            text.push_str(&format!("{forgotten} earlier changes are not kept\n"));
        }
        text
    }

    /// The last few changes as a table below other text; nothing if there are none.
    pub(super) fn latest(&self) -> String {
        let earlier = self.changes.len().saturating_sub(LATEST);
        let latest = self.changes.get(earlier..).unwrap_or_default();
        if latest.is_empty() {
            return String::new();
        }
        let mut text = format!("\nchanges in the last ten minutes:\n{}", table(latest));
        if earlier > 0 {
            let more = format!("{earlier} earlier ones: marathon-envoy changes\n");
            text.push_str(&more);
        }
        text
    }
}

fn table(changes: &[ChangeRow]) -> String {
    let head = ["HEARD", "APP", "PUBLISHED", "BY", "CHANGE"];
    let mut table = TextTable::new(head.map(str::to_owned).into());
    for change in changes {
        let what: Vec<&str> = change.what.iter().map(|part| &*part.text).collect();
        let published = change.published_after_seconds;
        let published = published.map(|seconds| format!("after {:.0} ms", seconds * 1000.0));
        let cells = [
            change.heard.clone().unwrap_or_default(),
            change.app.clone().unwrap_or_else(|| "-".to_owned()),
            published.unwrap_or_else(|| "-".to_owned()),
            change.by.join(", "),
            what.join("; "),
        ];
        let cells = cells.iter().map(|cell| harmless(cell));
        table.add(cells.collect(), Vec::new());
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(page: &Value) -> String {
        ChangesPage::read(page).unwrap().text()
    }

    #[test]
    fn changes_are_rows_and_nobody_breaks_one() {
        let page = json!({
            "changes": [
                {
                    "app": null,
                    "what": [{ "kind": "app", "text": "first configuration: apps 2" }],
                    "by": ["list"],
                    "heard": "2026-12-03T14:09:08Z",
                    "heard_seconds": 60.0,
                    "published_after_seconds": 0.0041,
                },
                {
                    "app": "/web",
                    "what": [{ "text": "labels new: a\nb" }, { "text": "tasks 1 -> 2" }],
                    "by": ["api_post_event", "status_update_event"],
                    "heard": "2026-12-03T14:10:08Z",
                    "published_after_seconds": null,
                },
            ],
            "forgotten": 3,
        });
        let expected = "\
HEARD                 APP   PUBLISHED   BY                                   CHANGE
2026-12-03T14:09:08Z  -     after 4 ms  list                                 first configuration: apps 2
2026-12-03T14:10:08Z  /web  -           api_post_event, status_update_event  labels new: a\\nb; tasks 1 -> 2
3 earlier changes are not kept
";
        assert_eq!(text(&page), expected);
        assert_eq!(text(&json!({ "changes": [] })), "no changes in this time\n");
        assert!(ChangesPage::read(&json!({ "ready": true })).is_err());
    }

    #[test]
    fn the_latest_changes_are_few() {
        let latest = |count: usize| {
            let change =
                |number: usize| json!({ "app": format!("/{number}"), "what": [], "by": ["list"] });
            let changes: Vec<_> = (0..count).map(change).collect();
            let page = ChangesPage::read(&json!({ "changes": changes }));
            page.unwrap().latest()
        };
        assert_eq!(latest(0), "");
        assert!(latest(LATEST).ends_with("/4   -          list\n"));
        let text = latest(LATEST + 2);
        assert!(text.contains("/2 ") && !text.contains("/1 "), "{text}");
        assert!(text.ends_with("2 earlier ones: marathon-envoy changes\n"));
    }

    #[test]
    fn the_page_is_asked_for_by_app_and_time() {
        #[derive(clap::Parser)]
        struct ChangesLine {
            #[command(flatten)]
            arguments: ChangesArguments,
        }
        let path = |line: &[&str]| {
            let line = ["changes"].iter().chain(line);
            <ChangesLine as clap::Parser>::parse_from(line)
                .arguments
                .path()
        };
        assert_eq!(path(&[]), "/changes?since=600");
        let asked = path(&["shop/a&b*", "--since", "2h"]);
        assert_eq!(asked, "/changes?since=7200&app=%2Fshop%2Fa%26b%2A");
    }
}
