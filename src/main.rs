//! Parses the command line, calls one command, maps its error to an exit code.
fn main() {}
