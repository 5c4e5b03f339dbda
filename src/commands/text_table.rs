//! Tables of text for terminals.

use std::fmt::Write as _;

/// Rows of equal length, each with notes below it.
pub(super) struct TextTable {
    rows: Vec<(Vec<String>, Vec<String>)>,
}

impl TextTable {
    pub(super) fn new(head: Vec<String>) -> Self {
        Self {
            rows: vec![(head, Vec::new())],
        }
    }

    pub(super) fn add(&mut self, cells: Vec<String>, notes: Vec<String>) {
        self.rows.push((cells, notes));
    }

    pub(super) fn text(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for (cells, _) in &self.rows {
            widths.resize(widths.len().max(cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for (cells, notes) in &self.rows {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(cells) {
                let _ = write!(line, "{cell:width$}  ");
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
            for note in notes {
                let _ = writeln!(text, "  {note}");
            }
        }
        text
    }
}

/// The text with control characters escaped: a stranger must not be able to break a line of the table.
/// Quotes and backslashes stay, so that values can be copied.
pub(super) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => harmless.push(c),
            c => harmless.extend(c.escape_debug()),
        }
    }
    harmless
}
