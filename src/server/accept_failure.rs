//! Failures to take a connection, told apart by what helps against them.

use std::io;

use rustix::io::Errno;

/// Failure to take a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptFailure {
    /// No connection will ever come from this listener again.
    Fatal,
    /// The new connection is gone already; the others and the next one are as they were.
    OneConnection,
    /// This process has no file descriptor left: fewer connections help.
    Descriptors,
    /// The system lacks something, or it is anything else that passes.
    Passing,
}

impl AcceptFailure {
    /// The failure behind an error.
    pub(super) fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            // The socket does not listen.
            Some(Errno::INVAL) => Self::Fatal,
            Some(Errno::MFILE) => Self::Descriptors,
            // Linux hands over the network errors of the new connection (accept(2)).
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::OPNOTSUPP,
            ) => Self::OneConnection,
            Some(_) | None => Self::Passing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_ended_for_want_of_own_descriptors_alone() {
        let of = |errno: Errno| AcceptFailure::of(&errno.into());
        assert_eq!(of(Errno::MFILE), AcceptFailure::Descriptors);
        for passing in [Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(of(passing), AcceptFailure::Passing);
        }
        for gone in [Errno::CONNABORTED, Errno::PERM, Errno::HOSTUNREACH] {
            assert_eq!(of(gone), AcceptFailure::OneConnection);
        }
        assert_eq!(of(Errno::INVAL), AcceptFailure::Fatal);
        let unknown = io::Error::other("unknown");
        assert_eq!(AcceptFailure::of(&unknown), AcceptFailure::Passing);
    }
}
