//! Rows of figures: a table on standard output, and JSON in a file.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::Error;
use crate::usage::load_average;

/// Samples of one figure, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// One figure that has no spread.
    pub(crate) fn one(value: f64) -> Self {
        Self(vec![value])
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn minimum(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median of the ratios of what was measured in pairs.
    fn ratio(&self, floor: &Self) -> f64 {
        let pairs = self.0.iter().zip(&floor.0);
        Self(pairs.map(|(ours, floor)| ours / floor).collect()).median()
    }

    fn json(&self) -> Value {
        json!({ "median": self.median(), "min": self.minimum(), "samples": self.0 })
    }
}

/// A floor with its name, and the samples that stand beside ours.
pub(crate) type Beside<'a> = Option<(&'static str, &'a Samples)>;

/// The rows of one run.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: &'static str,
    rows: Vec<Value>,
    json: Option<PathBuf>,
}

impl Report {
    /// An empty report. Without a file it is only printed.
    pub(crate) fn new(scenario: &'static str, json: Option<PathBuf>) -> Self {
        Self {
            scenario,
            rows: Vec::new(),
            json,
        }
    }

    /// Prints a row. `case` says what was measured, `figure` the quantity with its unit.
    pub(crate) fn row(
        &mut self,
        case: &str,
        figure: &str,
        ours: &Samples,
        beside: Beside<'_>,
    ) -> Result<(), Error> {
        let load = load_average();
        let mut output = io::stdout().lock();
        let mut print = |line: &str| {
            let printed = writeln!(output, "{line}").and_then(|()| output.flush());
            printed.map_err(Error::io("print a row"))
        };
        if self.rows.is_empty() {
            let header = line([
                "scenario", "case", "figure", "median", "min", "floor", "median", "min", "ratio",
                "load",
            ]);
            print(&header)?;
            print(&"-".repeat(header.len()))?;
        }
        let (name, floor) = beside.map_or(("", None), |(name, floor)| (name, Some(floor)));
        let number = |value: Option<f64>| value.map_or_else(String::new, short);
        // Two counts of nothing have no ratio.
        let ratio = floor.map(|floor| ours.ratio(floor));
        let ratio = ratio.filter(|ratio| ratio.is_finite());
        print(&line([
            self.scenario,
            case,
            figure,
            &short(ours.median()),
            &short(ours.minimum()),
            name,
            &number(floor.map(Samples::median)),
            &number(floor.map(Samples::minimum)),
            &number(ratio),
            &short(load),
        ]))?;
        self.rows.push(json!({
            "scenario": self.scenario,
            "case": case,
            "figure": figure,
            "ours": ours.json(),
            "floor": floor.map(|floor| json!({ "name": name, "samples": floor.json() })),
            "ratio": ratio,
            "load": load,
        }));
        Ok(())
    }

    /// Writes the file, if one is wanted.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Some(file) = self.json else {
            return Ok(());
        };
        let text = format!("{:#}\n", Value::from(self.rows));
        fs::write(&file, text).map_err(Error::io(format!("write {}", file.display())))
    }
}

/// A line of the table.
fn line(columns: [&str; 10]) -> String {
    let [
        scenario,
        case,
        figure,
        median,
        minimum,
        floor,
        floor_median,
        floor_minimum,
        ratio,
        load,
    ] = columns;
    let ours = format!("{scenario:<8} {case:<56} {figure:<21} {median:>9} {minimum:>9}");
    let floor = format!("{floor:<5} {floor_median:>9} {floor_minimum:>9} {ratio:>6} {load:>5}");
    format!("{ours} {floor}")
}

/// A number with about four digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Milliseconds of a duration.
pub(crate) fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A number of things: "1 stream", "2 streams".
pub(crate) fn counted(number: u32, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
