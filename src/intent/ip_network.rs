//! Networks, as ranges of addresses.

use std::net::IpAddr;

/// A network, as a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpNetwork {
    /// An address in it.
    pub address: IpAddr,
    /// Number of leading bits that all its addresses share.
    pub prefix_bits: u8,
}

/// Number of leading bits that the addresses of IPv4 share when they are written as ones of IPv6.
const MAPPED_BITS: u8 = 96;

impl IpNetwork {
    /// The network of a text: an address, alone or with the number of bits or the mask of its
    /// network behind a slash. None for any other text. A network of IPv4 that is written as one of
    /// IPv6 (`::ffff:10.0.0.0/104`) is the one of IPv4, as the addresses of clients are.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix_bits = match mask {
            None => longest,
            Some(mask) => bits_of(mask, address.is_ipv4())?,
        };
        if prefix_bits > longest {
            return None;
        }
        let canonical = address.to_canonical();
        Some(match prefix_bits.checked_sub(MAPPED_BITS) {
            Some(bits) if canonical != address => Self {
                address: canonical,
                prefix_bits: bits,
            },
            Some(_) | None => Self {
                address,
                prefix_bits,
            },
        })
    }

    /// True if an address is in it. Addresses of the two versions of IP are never in one network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.prefix_bits);
        match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(two)) => {
                let differing = one.to_bits() ^ two.to_bits();
                differing.leading_zeros() >= bits
            }
            (IpAddr::V6(one), IpAddr::V6(two)) => {
                let differing = one.to_bits() ^ two.to_bits();
                differing.leading_zeros() >= bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The number of bits that a mask says: as a number, or for IPv4 as an address.
fn bits_of(mask: &str, of_v4: bool) -> Option<u8> {
    if mask.bytes().all(|byte| byte.is_ascii_digit()) {
        return mask.parse().ok();
    }
    match mask.parse().ok()? {
        IpAddr::V4(mask) if of_v4 => {
            let bits = mask.to_bits().leading_ones();
            let is_mask = mask.to_bits().count_ones() == bits;
            u8::try_from(bits).ok().filter(|_| is_mask)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_with_or_without_a_mask() {
        for (text, address, bits) in [
            ("10.1.55.43", "10.1.55.43", 32),
            ("10.1.40.0/24", "10.1.40.0", 24),
            ("10.0.0.0/255.0.0.0", "10.0.0.0", 8),
            ("0.0.0.0/0", "0.0.0.0", 0),
            ("2001:db8::/32", "2001:db8::", 32),
            ("::1", "::1", 128),
            ("::ffff:10.1.55.43", "10.1.55.43", 32),
            ("::ffff:10.0.0.0/104", "10.0.0.0", 8),
            ("::ffff:0.0.0.0/95", "::ffff:0.0.0.0", 95),
        ] {
            let network = IpNetwork {
                address: address.parse().unwrap(),
                prefix_bits: bits,
            };
            assert_eq!(IpNetwork::parse(text), Some(network), "{text}");
        }
        for text in [
            "",
            "x",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "::ffff:10.0.0.0/129",
            "10.0.0.0/255.0.255.0",
            "::/255.0.0.0",
            "10.0.0.0/8/8",
            "-f",
            "internal.example.com",
        ] {
            assert_eq!(IpNetwork::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_contains_the_addresses_that_begin_as_it_does() {
        for (network, address, is_in) in [
            ("10.1.0.0/16", "10.1.255.7", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:1::", true),
            ("2001:db8::/32", "2001:db9::", false),
        ] {
            let network = IpNetwork::parse(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                is_in,
                "{network:?} {address}"
            );
        }
    }
}
