//! Build script: hands the revision of the sources to the compiler, for `--version` and metrics.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "cargo speaks with build scripts through the environment and standard output"
)]

use std::path::Path;
use std::process::Command;

/// Variable of the revision: read here where packagers set it, and set for the compiler.
const VARIABLE: &str = "MARATHON_ENVOY_REVISION";

fn main() {
    println!("cargo::rerun-if-changed=packaging/revision.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let stated = std::env::var(VARIABLE).ok();
    let stated = stated.filter(|stated| !stated.is_empty());
    let revision = stated.or_else(of_git);
    let revision = revision.as_deref().unwrap_or("unknown");
    println!("cargo::rustc-env={VARIABLE}={revision}");
}

/// Returns the revision of the repository whose top is this package. None without git, and for
/// sources that were unpacked inside another repository.
fn of_git() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()?;
    if Path::new(&top).canonicalize().ok()? != here {
        return None;
    }
    // Each checkout and commit writes here, on a branch or not.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// Returns the standard output of a git command; none if there is no git, or it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let here = env!("CARGO_MANIFEST_DIR");
    let command = Command::new("git")
        .arg("-C")
        .arg(here)
        .args(arguments)
        .output();
    let output = command.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}
