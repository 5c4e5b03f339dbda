//! File descriptors: as many as the system gives, and a reserve that connections leave.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of the admin port: 64 connections and one that waits for room.
const ADMIN: usize = 65;

/// Descriptors of look-ups of agents' names that are under way at once.
const LOOK_UPS: usize = 32;

/// Descriptors of everything else: the standard streams, the runtimes' own, what listens,
/// connections to Marathon and Vault, and files that are read.
const OTHERS: usize = 64;

/// Descriptors that connections leave to everything else.
const RESERVE: usize = ADMIN + LOOK_UPS + OTHERS;

/// Fewest connections, however few descriptors there are.
const FEWEST: usize = 8;

/// Raises the number of file descriptors of this process to the most that the system allows it.
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

/// The number of connections that are taken of `wished` ones, given the descriptors.
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
