//! A list of addresses that takes a few bytes for each.

use std::net::{SocketAddr, SocketAddrV4};

/// Addresses, sorted, each once. There are as many of these as tasks, almost all of IPv4, of which one
/// takes six bytes where [`SocketAddr`] takes 32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList(Addresses);

/// The form is that of the content, so that equal lists are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Addresses {
    /// One of IPv4.
    One(SocketAddrV4),
    /// None or several, all of IPv4.
    V4(Box<[SocketAddrV4]>),
    /// Any others.
    Mixed(Box<[SocketAddr]>),
}

impl AddressList {
    /// The addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let (one, v4, mixed) = match &self.0 {
            Addresses::One(address) => (Some(address), &[][..], &[][..]),
            Addresses::V4(addresses) => (None, &**addresses, &[][..]),
            Addresses::Mixed(addresses) => (None, &[][..], &**addresses),
        };
        let v4 = one.into_iter().chain(v4);
        let v4 = v4.map(|address| SocketAddr::V4(*address));
        v4.chain(mixed.iter().copied())
    }

    /// Number of addresses.
    pub fn len(&self) -> usize {
        match &self.0 {
            Addresses::One(_) => 1,
            Addresses::V4(addresses) => addresses.len(),
            Addresses::Mixed(addresses) => addresses.len(),
        }
    }

    /// Returns true if there is no address.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if an address is among them. Logarithmic.
    pub fn contains(&self, address: SocketAddr) -> bool {
        match (&self.0, address) {
            (Addresses::One(one), address) => SocketAddr::V4(*one) == address,
            (Addresses::V4(addresses), SocketAddr::V4(address)) => {
                addresses.binary_search(&address).is_ok()
            }
            (Addresses::V4(_), SocketAddr::V6(_)) => false,
            (Addresses::Mixed(addresses), address) => addresses.binary_search(&address).is_ok(),
        }
    }
}

impl Default for AddressList {
    /// No address.
    fn default() -> Self {
        Self(Addresses::V4(Box::default()))
    }
}

impl From<Vec<SocketAddr>> for AddressList {
    /// These addresses, in any order.
    fn from(mut addresses: Vec<SocketAddr>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        let v4 = |address: &SocketAddr| match address {
            SocketAddr::V4(address) => Some(*address),
            SocketAddr::V6(_) => None,
        };
        Self(match &*addresses {
            [SocketAddr::V4(one)] => Addresses::One(*one),
            all => match all.iter().map(v4).collect() {
                Some(v4) => Addresses::V4(v4),
                None => Addresses::Mixed(addresses.into()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const SOME: [&str; 5] = [
        "10.0.0.1:1",
        "10.0.0.1:2",
        "9.0.0.1:3",
        "[::1]:1",
        "[::2]:1",
    ];

    fn addresses() -> impl Strategy<Value = Vec<SocketAddr>> {
        let some = SOME.map(|address| address.parse().unwrap());
        vec(select(some.to_vec()), 0..6)
    }

    proptest! {
        #[test]
        fn a_list_is_the_set_of_its_addresses(one in addresses(), other in addresses()) {
            let set = |addresses: &[SocketAddr]| {
                let mut addresses = addresses.to_vec();
                addresses.sort_unstable();
                addresses.dedup();
                addresses
            };
            let (list, sorted) = (AddressList::from(one.clone()), set(&one));
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), &*sorted);
            prop_assert_eq!((list.len(), list.is_empty()), (sorted.len(), sorted.is_empty()));
            for address in SOME.map(|address| address.parse().unwrap()) {
                prop_assert_eq!(list.contains(address), sorted.contains(&address));
            }
            let equal = sorted == set(&other);
            prop_assert_eq!(list == AddressList::from(other), equal);
        }
    }
}
