//! Parses the command line, calls one command, maps its error to an exit code.

use std::process::ExitCode;

use marathon_envoy::commands::Cli;

fn main() -> ExitCode {
    // Before anything else: every TLS connection of the process uses this provider.
    let provider = rustls::crypto::ring::default_provider();
    if provider.install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    Cli::from_command_line().run()
}
