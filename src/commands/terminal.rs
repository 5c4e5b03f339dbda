//! Messages for the person at the terminal.

use std::io::Write as _;

/// The exit code of wrong usage, a bad setting included.
pub(super) const USAGE: u8 = 2;

/// The exit code when the apps that a command is about cannot be read.
pub(super) const UNREADABLE: u8 = 3;

/// Writes one line to the standard error stream.
pub(super) fn say(line: &str) {
    // A closed terminal leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}
