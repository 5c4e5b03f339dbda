//! Addresses that no task of its own can have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an address that no task can have, in words; none of one that a task may have.
///
/// Requests to these would reach no task: nothing, many hosts at once, or another service on the
/// proxy's own machine or link, such as the metadata service of a cloud, which hands out credentials.
/// Loopback is allowed: everything may run on one machine.
pub(super) fn no_task_address(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(embedded) => of_v4(embedded),
            None => of_v6(address),
        },
    }
}

fn of_v4(address: Ipv4Addr) -> Option<&'static str> {
    // All of 0.0.0.0/8 is "this host on this network" (RFC 1122, section 3.2.1.3).
    if address.octets()[0] == 0 {
        Some("unspecified")
    } else if address.is_broadcast() {
        Some("the broadcast address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_link_local() {
        Some("link-local")
    } else {
        None
    }
}

fn of_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("unspecified")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unicast_link_local() {
        Some("link-local")
    } else {
        None
    }
}

/// The IPv4 address that connections to an IPv6 address lead to: of a mapped one
/// ([RFC 4291](https://www.rfc-editor.org/rfc/rfc4291#section-2.5.5.2)), or behind a translator
/// (`64:ff9b::/96`, [RFC 6052](https://www.rfc-editor.org/rfc/rfc6052#section-2.1)).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => address.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> Option<&'static str> {
        no_task_address(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_no_task_are_told_by_their_kind() {
        for (address, expected) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("169.254.169.254", "link-local"),
            ("169.254.0.1", "link-local"),
            ("224.0.0.1", "a multicast address"),
            ("239.255.255.255", "a multicast address"),
            ("255.255.255.255", "the broadcast address"),
            ("::", "unspecified"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("ff02::1", "a multicast address"),
            ("::ffff:0.0.0.0", "unspecified"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::ffff:224.0.0.1", "a multicast address"),
            ("::ffff:255.255.255.255", "the broadcast address"),
            ("64:ff9b::169.254.169.254", "link-local"),
        ] {
            assert_eq!(kind(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn every_other_address_may_be_a_task_s() {
        for address in [
            "127.0.0.1",
            "10.0.0.1",
            "172.17.0.2",
            "192.168.1.1",
            "100.64.0.1",
            "169.253.0.1",
            "169.255.0.1",
            "223.255.255.255",
            "240.0.0.1",
            "1.0.0.0",
            "::1",
            "fd00::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }
}
