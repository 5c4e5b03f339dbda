//! Fields of text lines, escaped.

use std::fmt;

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// Formats fields as `key=value`, and escapes characters that end a line, colour it or reverse it:
/// node ids, error texts, app ids and agents' names come from strangers, and a line break in one of
/// them would forge the next line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EscapedFields;

impl<'writer> FormatFields<'writer> for EscapedFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        // Without colours, so that every control character is a stranger's.
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        write_escaped(&mut writer, &text)
    }
}

fn write_escaped(writer: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some((place, found)) = rest.char_indices().find(|(_, char)| misleads(*char)) {
        let (harmless, behind) = rest.split_at(place);
        write!(writer, "{harmless}{}", found.escape_default())?;
        rest = behind.strip_prefix(found).unwrap_or_default();
    }
    writer.write_str(rest)
}

/// Returns true if a terminal or a reader of lines would interpret the character.
fn misleads(char: char) -> bool {
    char.is_control()
        // Line and paragraph separators, directional marks and overrides, the byte order mark.
        || matches!(
            char,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut written = String::new();
        write_escaped(&mut written, text).unwrap();
        written
    }

    #[test]
    fn what_stands_there_stays_and_what_acts_is_escaped() {
        for harmless in [
            "",
            "/shop/web",
            "k\u{e4}se \u{2615} \u{4e2d}\u{6587}",
            "a\\nb",
        ] {
            assert_eq!(escaped(harmless), harmless);
        }
        for (acting, shown) in [
            ("a\r\nb", r"a\r\nb"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("\u{9b}31mred\u{7f}\0", r"\u{9b}31mred\u{7f}\u{0}"),
            ("\t", r"\t"),
            ("\u{202e}abc\u{2028}", r"\u{202e}abc\u{2028}"),
            ("\u{feff}", r"\u{feff}"),
        ] {
            assert_eq!(escaped(acting), shown);
        }
    }
}
