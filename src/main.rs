//! Parses the command line, calls one command, maps its error to an exit code.

use std::process::ExitCode;

use marathon_envoy::commands::Cli;

/// Returns memory to the system after a peak: the default allocator keeps an arena for each thread,
/// and 1,000 proxies that came and went left 150 MB behind (`.cargo/config.toml` holds the
/// settings).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before anything else: every TLS connection of the process uses this provider.
    let provider = rustls::crypto::ring::default_provider();
    if provider.install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    Cli::from_command_line().run()
}
