//! The man pages and completions, from the grammar of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap_complete::Shell;
use marathon_envoy::commands::command_line;

/// The shells that are completed for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

/// Writes a man page for each command into `man/`, and a file for each shell into `completions/`.
///
/// # Errors
///
/// When a file or a folder cannot be written.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let mut command = command_line();
    let name = command.get_name().to_owned();
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, &name, &completions)?;
    }
    // A page for `help` says nothing.
    let without_help = command_line().disable_help_subcommand(true);
    clap_mangen::generate_to(without_help, man)
}
