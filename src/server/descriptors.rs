//! File descriptors: the limit of this process, and the reserve that connections leave.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of the admin port: 64 connections and one that waits for a slot.
const ADMIN: usize = 65;

/// Descriptors of concurrent DNS look-ups of agents' names.
const LOOK_UPS: usize = 32;

/// Descriptors of everything else: standard streams, the runtimes, listeners, connections to
/// Marathon and Vault, and files that are read.
const OTHERS: usize = 64;

/// Descriptors that connections leave to everything else.
const RESERVE: usize = ADMIN + LOOK_UPS + OTHERS;

/// Least number of connections, however few descriptors there are.
const FEWEST: usize = 8;

/// Raises the soft limit of file descriptors to the hard limit.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, limit = current, "the number of file descriptors cannot be raised");
    }
}

/// Returns how many of `wished` connections the limit of descriptors allows.
pub(super) fn affordable(wished: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let affordable = limit.map_or(wished, affordable_of);
    if affordable < wished {
        tracing::warn!(
            wished,
            connections = affordable,
            descriptors = limit,
            "file descriptors allow fewer connections to the xds port: raise the limit (ulimit -n)"
        );
    }
    affordable.min(wished)
}

fn affordable_of(limit: u64) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit.saturating_sub(RESERVE).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve() {
        assert_eq!(affordable_of(256), 95);
        assert_eq!(affordable_of(1_024), 863);
        assert_eq!(affordable_of(20), FEWEST);
        assert_eq!(affordable(0), 0);
    }
}
