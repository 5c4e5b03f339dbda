//! Classification of accept errors by their remedy.

use std::io;

use rustix::io::Errno;

/// Class of an accept error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptFailure {
    /// The socket is not listening: no connection will come from it again.
    Fatal,
    /// The new connection is gone already; others and the next one are not affected.
    OneConnection,
    /// This process is out of file descriptors: closing connections helps.
    Descriptors,
    /// The system lacks a resource, or the error is another transient one.
    Passing,
}

impl AcceptFailure {
    /// Returns the class of an error.
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
