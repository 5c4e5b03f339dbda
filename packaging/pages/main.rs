//! Writes the man pages and completions of a package: `cargo run --example pages -- FOLDER`.

mod files;

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder =
        folder.ok_or_else(|| io::Error::other("name the folder for man/ and completions/"))?;
    files::write(Path::new(&folder))
}
