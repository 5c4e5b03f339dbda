//! The label table of the manual.

use std::fmt::Write as _;

use super::config::USUAL_PREFIX;
use super::label::{Label, Support, ValueKind};
use super::table::{FAMILIES, labels};

/// The names of all labels, without prefix and index.
pub fn names() -> impl Iterator<Item = &'static str> {
    labels().map(|label| label.name)
}

/// All labels as Markdown, a heading and a table for each family.
pub fn table() -> String {
    let mut text = String::new();
    for family in &FAMILIES {
        let gap = if text.is_empty() { "" } else { "\n\n" };
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "{gap}### {}\n\n| label | value | supported | meaning |\n|---|---|---|---|",
            family.title
        );
        for label in family.labels {
            let _ = write!(text, "\n{}", row(label));
        }
    }
    text
}

fn row(label: &Label) -> String {
    let supported = match label.support {
        Support::Served(_) => "yes".to_owned(),
        Support::InPart { limit, .. } => format!("in part: {limit}"),
        Support::ForIdioms {
            idioms, instead, ..
        } => format!("{idioms}; otherwise not yet: {instead}"),
        Support::Guard(_) => {
            "marathon-lb's own text; otherwise not yet: the port is closed".to_owned()
        }
        Support::Meaningless => "no: marathon-lb does nothing with it either".to_owned(),
    };
    let owner = match label.is_our_own {
        true => "not marathon-lb's: ",
        false => "",
    };
    format!(
        "| `{}` | {} | {supported} | {owner}{} |",
        label.key(USUAL_PREFIX, "{n}"),
        kind(label.value),
        label.meaning
    )
}

fn kind(value: ValueKind) -> &'static str {
    match value {
        ValueKind::Bool => "true or false",
        ValueKind::Number => "number",
        ValueKind::Text => "text",
        ValueKind::List => "list",
        ValueKind::BindText => "text of a `bind` line",
        ValueKind::Template
        | ValueKind::RoutingTemplate
        | ValueKind::ServerTemplate
        | ValueKind::ServerOptions => "template",
    }
}
