//! Core dumps, which would hold every private key and token of this process.

use std::io;

/// Forbids core dumps of this process, and access of its user's other processes to its memory.
///
/// # Errors
///
/// When the kernel refuses one of both.
pub fn forbid() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Core);
    // The hard limit stays: it belongs to the operator.
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    setrlimit(Resource::Core, none)?;
    // A core that is piped to a program, as with systemd, ignores the limit.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
