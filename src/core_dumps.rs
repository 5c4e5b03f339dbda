//! Core dumps, which would hold every private key and token of this process.

use std::io;

/// Keeps the kernel from writing a core dump of this process, and other processes of its user from
/// reading its memory.
///
/// # Errors
///
/// When the kernel refuses one of both.
pub fn forbid() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Core);
    // The hard limit stays: it is for whoever starts this to set.
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    setrlimit(Resource::Core, none)?;
    // A core that is piped to a program, as systemd has it, does not mind the limit.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
