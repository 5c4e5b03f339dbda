//! The identifier of this control plane.

use std::sync::Arc;

use rustix::system::uname;

/// Identifier of this control plane in its answers, which Envoy shows as
/// `control_plane.identifier`: the system's host name, and the version of the program.
pub(super) fn identifier() -> Arc<str> {
    let system = uname();
    let host = system.nodename().to_string_lossy();
    let version = env!("CARGO_PKG_VERSION");
    format!("{host} marathon-envoy/{version}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_goes_by_its_host_and_version() {
        let identifier = identifier();
        let (host, program) = identifier.split_once(' ').unwrap();
        let (name, version) = program.split_once('/').unwrap();
        assert!(!host.is_empty() && name == "marathon-envoy");
        assert!(version.starts_with(|digit: char| digit.is_ascii_digit()));
    }
}
