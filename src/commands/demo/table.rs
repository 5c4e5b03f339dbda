//! Steps and their totals as lines of text.

use std::time::Duration;

use sim::scenario::{Live, Step, Summary, median};

/// The columns' names; true for numbers, which stand right.
const COLUMNS: [(&str, bool); 5] = [
    ("step", false),
    ("what changed", false),
    ("event → live", true),
    ("sent", true),
    ("failed", true),
];

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The text, without colours and without its end.
    pub(super) text: String,
    /// Its tone.
    pub(super) tone: Tone,
}

/// The tone of a line, which a terminal can show as a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As any text.
    Plain,
    /// As a heading.
    Heading,
    /// As something that is not settled yet.
    Pending,
    /// As good.
    Good,
    /// As bad.
    Bad,
}

impl Line {
    /// A line whose text stays one line: signs that would move the cursor are shown as `?`.
    pub(super) fn new(text: &str, tone: Tone) -> Self {
        Self {
            text: printable(text.trim_end()),
            tone,
        }
    }
}

/// The steps as a table with a heading, its columns as wide as they need to be.
pub(super) fn table(steps: &[Step]) -> Vec<Line> {
    let rows: Vec<[String; 5]> = steps.iter().map(cells).collect();
    let mut widths = COLUMNS.map(|(name, _)| name.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heading = COLUMNS.map(|(name, _)| name.to_owned());
    let mut lines = vec![Line::new(&aligned(&heading, &widths), Tone::Heading)];
    lines.extend(
        steps
            .iter()
            .zip(&rows)
            .map(|(step, row)| Line::new(&aligned(row, &widths), tone(step))),
    );
    lines
}

/// One settled step as a line that stands alone, for a log.
pub(super) fn sentence(step: &Step) -> Line {
    let live = match &step.live {
        Live::Pending => "not live yet".to_owned(),
        Live::After(times) => format!("live after {}", spelled(times)),
        Live::Unchanged => "unchanged, as it should be".to_owned(),
        Live::Disturbed => "CHANGED, though it should not".to_owned(),
        Live::Unseen(within) => format!("NOT LIVE within {}", milliseconds(*within)),
    };
    let text = format!(
        "{}: {}: {live}; {} sent, {} failed",
        step.name, step.change, step.sent, step.failed
    );
    Line::new(&text, tone(step))
}

/// The meaning of the times.
const MEASURED: [&str; 4] = [
    "live: from Marathon's event on the wire to the first answer that shows the change;",
    "for a task that left, until Envoy's /clusters does not list it any more;",
    "for a certificate, from the signal that Vault has it to the first handshake that shows it.",
    "",
];

/// The meaning of the times and the summary of all steps, in a few lines.
pub(super) fn summary(totals: &Summary) -> Vec<Line> {
    let mut lines: Vec<Line> = MEASURED
        .iter()
        .map(|text| Line::new(text, Tone::Pending))
        .collect();
    if let Some(median) = totals.median {
        lines.push(Line::new(
            &format!(
                "median of single changes: {} (goal: below 10 ms)",
                milliseconds(median)
            ),
            Tone::Plain,
        ));
    }
    if let Some(burst) = totals.burst {
        lines.push(Line::new(
            &format!(
                "slowest of a burst: {} (goal: below 2000 ms, twice Envoy's rest)",
                milliseconds(burst)
            ),
            Tone::Plain,
        ));
    }
    let text = format!("{} requests sent, {} lost", totals.sent, totals.lost);
    let tone = if totals.lost == 0 && totals.sent > 0 {
        Tone::Good
    } else {
        Tone::Bad
    };
    lines.push(Line::new(&text, tone));
    if totals.failed_apart > 0 {
        let text = format!(
            "{} failed where a backend was broken in the middle of a request, on purpose",
            totals.failed_apart
        );
        lines.push(Line::new(&text, Tone::Plain));
    }
    if !totals.unseen.is_empty() {
        let text = format!("never live: {}", totals.unseen.join(", "));
        lines.push(Line::new(&text, Tone::Bad));
    }
    if !totals.disturbed.is_empty() {
        let text = format!("changed without a reason: {}", totals.disturbed.join(", "));
        lines.push(Line::new(&text, Tone::Bad));
    }
    lines
}

fn cells(step: &Step) -> [String; 5] {
    let live = match &step.live {
        Live::Pending => "...".to_owned(),
        Live::After(times) => spelled(times),
        Live::Unchanged => "unchanged".to_owned(),
        Live::Disturbed => "changed!".to_owned(),
        Live::Unseen(within) => format!("not within {}", milliseconds(*within)),
    };
    [
        printable(&step.name),
        printable(&step.change),
        live,
        step.sent.to_string(),
        step.failed.to_string(),
    ]
}

fn tone(step: &Step) -> Tone {
    match &step.live {
        Live::Unseen(_) | Live::Disturbed => Tone::Bad,
        Live::Pending | Live::After(_) | Live::Unchanged if step.failed > 0 => Tone::Bad,
        Live::Pending => Tone::Pending,
        Live::After(_) | Live::Unchanged => Tone::Good,
    }
}

fn aligned(cells: &[String; 5], widths: &[usize; 5]) -> String {
    let mut line = String::new();
    for ((cell, width), (_, number)) in cells.iter().zip(widths).zip(COLUMNS) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let padded = if number {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        };
        line.push_str(&padded);
    }
    line
}

/// One time as it is, several as their median and their greatest.
fn spelled(times: &[Duration]) -> String {
    match (median(times), times.iter().max()) {
        (Some(median), Some(most)) if times.len() > 1 => {
            format!("{} (max {})", milliseconds(median), milliseconds(*most))
        }
        (Some(median), Some(_)) => milliseconds(median),
        (None, _) | (_, None) => "-".to_owned(),
    }
}

fn milliseconds(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    // A tenth of a millisecond is what the probe resolves; above a hundred nobody reads it.
    if millis < 100.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use sim::scenario::Counts;

    use super::*;

    fn step(name: &str, change: &str, live: Live, sent: u64, failed: u64) -> Step {
        Step {
            name: name.to_owned(),
            change: change.to_owned(),
            live,
            sent,
            failed,
            counts: Counts::Fully,
        }
    }

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let steps = [
            step("deploy", "/web", Live::After(vec![micros(4120)]), 900, 0),
            step(
                "burst",
                "20 tasks of /web at once",
                Live::After(vec![micros(900), micros(210_400), micros(1000)]),
                12_345,
                0,
            ),
            step("scale", "/é", Live::Pending, 1, 0),
            step("leader", "-", Live::Unchanged, 1, 2),
            step("path", "-", Live::Unseen(Duration::from_secs(5)), 1, 0),
        ];
        let lines = table(&steps);
        let text: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            text,
            [
                "step    what changed                     event → live   sent  failed",
                "deploy  /web                                   4.1 ms    900       0",
                "burst   20 tasks of /web at once  1.0 ms (max 210 ms)  12345       0",
                "scale   /é                                        ...      1       0",
                "leader  -                                   unchanged      1       2",
                "path    -                          not within 5000 ms      1       0",
            ]
        );
        let tones: Vec<Tone> = lines.iter().map(|line| line.tone).collect();
        assert_eq!(
            tones,
            [
                Tone::Heading,
                Tone::Good,
                Tone::Good,
                Tone::Pending,
                Tone::Bad,
                Tone::Bad,
            ]
        );
    }

    #[test]
    fn a_step_stands_alone_as_a_sentence() {
        let scale = step("scale", "/web to 5", Live::After(vec![micros(3000)]), 7, 1);
        assert_eq!(
            sentence(&scale).text,
            "scale: /web to 5: live after 3.0 ms; 7 sent, 1 failed"
        );
        assert_eq!(sentence(&scale).tone, Tone::Bad);
        let unseen = step("path", "/api", Live::Unseen(Duration::from_secs(5)), 7, 0);
        assert!(sentence(&unseen).text.contains("NOT LIVE within 5000 ms"));
    }

    #[test]
    fn what_would_move_the_cursor_is_not_printed() {
        let evil = step("a\x1b[2J", "b\nc", Live::Unchanged, 0, 0);
        for line in table(std::slice::from_ref(&evil))
            .iter()
            .chain([&sentence(&evil)])
        {
            assert!(!line.text.contains(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn the_summary_names_losses_what_counts_apart_and_what_was_never_live() {
        let mut totals = Summary {
            sent: 100,
            lost: 0,
            failed_apart: 0,
            median: Some(micros(2500)),
            burst: None,
            unseen: Vec::new(),
            disturbed: Vec::new(),
        };
        let texts = |totals: &Summary| -> Vec<String> {
            let lines = summary(totals).into_iter().skip(MEASURED.len());
            lines.map(|line| line.text).collect()
        };
        assert_eq!(
            texts(&totals),
            [
                "median of single changes: 2.5 ms (goal: below 10 ms)",
                "100 requests sent, 0 lost"
            ]
        );
        totals.failed_apart = 1;
        totals.unseen = vec!["path".to_owned(), "delete".to_owned()];
        let texts = texts(&totals);
        assert!(
            texts
                .iter()
                .any(|text| text.starts_with("1 failed where a backend was broken"))
        );
        assert!(texts.contains(&"never live: path, delete".to_owned()));
    }
}
