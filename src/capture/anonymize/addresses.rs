//! Addresses for addresses: a permutation of each class of them that keeps their prefixes.
//!
//! As in Xu, Fan, Ammar and Moon, "Prefix-Preserving IP Address Anonymization" (ICNP 2002): each bit is flipped or not by what
//! the key makes of the bits before it. Two addresses share as many leading bits afterwards as they did before, and no two
//! become one.
//!
//! What an address means to the kernel must stay: a class keeps its own leading bits. An address of no class is replaced
//! again and again until it is one of no class; a permutation comes back to where it began, so that this ends, and it stays
//! one. Two such addresses that share at least the 16 bits that the longest class has share them afterwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::key::Key;
use crate::model::tuple::Network;

/// Addresses with a meaning of their own.
struct Class {
    network: Network,
    /// How many leading bits stay as they are.
    kept: u32,
}

/// Replaces addresses.
pub(super) struct Addresses<'a> {
    key: &'a Key,
    classes: Vec<Class>,
}

/// Domains of the key.
const V4: u8 = b'4';
const V6: u8 = b'6';
const UID: u8 = b'u';

/// Network, prefix, and how many bits are kept, the narrowest first (IANA special-purpose address registries).
const CLASSES: [(IpAddr, u8, u32); 16] = [
    (v4(0, 0), 32, 32),
    (v4(127, 0), 8, 32),
    (v4(169, 254), 16, 16),
    (v4(192, 168), 16, 16),
    (v4(172, 16), 12, 12),
    (v4(100, 64), 10, 10),
    (v4(0, 0), 8, 8),
    (v4(10, 0), 8, 8),
    (v4(224, 0), 3, 8),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128, 128),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, 128),
    // NAT64: the last 32 bits are an IPv4 address.
    (v6(0x64, 0xff9b), 96, 96),
    // Link-local: the subnet is 0 by RFC 4291 section 2.5.6, and says nothing.
    (v6(0xfe80, 0), 10, 64),
    (v6(0xfc00, 0), 7, 8),
    // Multicast: flags and scope.
    (v6(0xff00, 0), 8, 16),
    (v6(0x2000, 0), 3, 3),
];

const fn v4(first: u8, second: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(first, second, 0, 0))
}

const fn v6(first: u16, second: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0))
}

impl<'a> Addresses<'a> {
    pub(super) fn new(key: &'a Key) -> Self {
        let class = |(address, prefix, kept)| Network::new(address, prefix).map(|network| Class { network, kept });
        Self { key, classes: CLASSES.into_iter().filter_map(class).collect() }
    }

    /// The address that stands for this one.
    pub(super) fn replace(&self, address: IpAddr) -> IpAddr {
        let class = self.class_of(address);
        let kept = class.map_or(0, |class| self.classes[class].kept);
        let mut replaced = address;
        loop {
            replaced = match replaced {
                IpAddr::V4(address) => {
                    let bits = self.permute(V4, address.to_bits().into(), kept, 32);
                    // Of 32 bits no more than 32 come back.
                    IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
                }
                IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(self.permute(V6, address.to_bits(), kept, 128))),
            };
            let is_plain = replaced == replaced.to_canonical();
            if is_plain && self.class_of(replaced) == class {
                return replaced;
            }
        }
    }

    /// The user id that stands for this one. Those below 1000 and 65534 (`nobody`) are the same everywhere and stay.
    pub(super) fn replace_uid(&self, uid: u32) -> u32 {
        let stays = |uid: u32| uid < 1000 || uid == 65_534 || uid == u32::MAX;
        let mut replaced = uid;
        while !stays(uid) {
            replaced = self.permute(UID, replaced.into(), 0, 32) as u32;
            if !stays(replaced) {
                break;
            }
        }
        replaced
    }

    fn class_of(&self, address: IpAddr) -> Option<usize> {
        self.classes.iter().position(|class| class.network.contains(address))
    }

    /// Flips the bits behind the kept ones, of a number that is so many bits wide.
    fn permute(&self, domain: u8, number: u128, kept: u32, width: u32) -> u128 {
        (kept..width).fold(number, |replaced, nth| {
            let place = width - 1 - nth;
            let before = number.checked_shr(place + 1).unwrap_or(0);
            let mut question = [0; 17];
            question[..16].copy_from_slice(&before.to_be_bytes());
            // Prefixes of different lengths may be one number.
            question[16] = nth as u8;
            replaced ^ (u128::from(self.key.bits(domain, &question) & 1) << place)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::{any, proptest};

    use super::*;

    fn key(nth: u8) -> Key {
        Key::new([nth; 16])
    }

    fn shared_bits(a: IpAddr, b: IpAddr) -> u32 {
        match (a, b) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => 0,
        }
    }

    #[test]
    fn every_class_keeps_its_meaning() {
        let key = key(1);
        let addresses = Addresses::new(&key);
        let replace = |text: &str| addresses.replace(text.parse().expect("an address"));
        for kept in ["0.0.0.0", "127.0.0.1", "127.0.0.53", "::", "::1"] {
            assert_eq!(replace(kept).to_string(), kept);
        }
        for (inside, network) in [
            ("10.1.2.3", "10.0.0.0/8"),
            ("172.16.0.1", "172.16.0.0/12"),
            ("172.31.255.255", "172.16.0.0/12"),
            ("192.168.1.1", "192.168.0.0/16"),
            ("169.254.169.254", "169.254.0.0/16"),
            ("100.64.0.1", "100.64.0.0/10"),
            ("224.0.0.251", "224.0.0.0/8"),
            ("fe80::1", "fe80::/64"),
            ("fd00:1::1", "fd00::/8"),
            ("2001:db8::1", "2000::/3"),
            ("64:ff9b::808:808", "64:ff9b::/96"),
        ] {
            let (address, prefix) = network.split_once('/').expect("a prefix");
            let network = Network::new(address.parse().expect("an address"), prefix.parse().expect("a prefix"));
            let replaced = replace(inside);
            assert!(network.expect("a network").contains(replaced), "{inside} became {replaced}");
            assert_ne!(replaced.to_string(), inside);
        }
    }

    #[test]
    fn another_key_makes_other_addresses_and_the_same_key_the_same() {
        let replace = |nth| Addresses::new(&key(nth)).replace(v4(198, 51));
        assert_eq!(replace(1), replace(1));
        let seen: HashSet<IpAddr> = (0..16).map(replace).collect();
        assert!(seen.len() > 12, "{seen:?}");
    }

    #[test]
    fn no_two_addresses_become_one() {
        let key = key(7);
        let addresses = Addresses::new(&key);
        for network in [v4(8, 8), v4(9, 255), v4(11, 0), v4(10, 3), v4(223, 255)] {
            let IpAddr::V4(first) = network else { panic!("an IPv4 address") };
            let all = (0..1 << 12).map(|nth| addresses.replace(Ipv4Addr::from_bits(first.to_bits() + nth).into()));
            assert_eq!(all.collect::<HashSet<_>>().len(), 1 << 12, "{network}");
        }
    }

    #[test]
    fn users_of_people_are_replaced_and_those_of_the_system_stay() {
        let key = key(3);
        let addresses = Addresses::new(&key);
        for uid in [0, 33, 999, 65_534, u32::MAX] {
            assert_eq!(addresses.replace_uid(uid), uid);
        }
        let replaced: HashSet<u32> = (1000..3000).map(|uid| addresses.replace_uid(uid)).collect();
        assert_eq!(replaced.len(), 2000);
        assert!(replaced.iter().all(|uid| *uid >= 1000 && *uid != 65_534 && *uid != u32::MAX));
    }

    proptest! {
        #[test]
        fn prefixes_are_kept(a in any::<u32>(), shared in 16_u32..=32, b in any::<u32>(), secret in any::<u8>()) {
            let key = key(secret);
            let addresses = Addresses::new(&key);
            let b = if shared == 32 { a } else { (a >> (32 - shared) << (32 - shared)) | (b & (u32::MAX >> shared)) };
            let [a, b] = [a, b].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
            let (before, after) = (shared_bits(a, b), shared_bits(addresses.replace(a), addresses.replace(b)));
            let wildcard = a.is_unspecified() || b.is_unspecified();
            assert!(after == before || wildcard, "{a} and {b} shared {before} bits and now share {after}");
        }

        #[test]
        fn an_address_stays_in_its_class(bits in any::<u128>(), secret in any::<u8>()) {
            let key = key(secret);
            let addresses = Addresses::new(&key);
            for address in [IpAddr::V6(Ipv6Addr::from_bits(bits)), IpAddr::V4(Ipv4Addr::from_bits(bits as u32))] {
                let address = address.to_canonical();
                let replaced = addresses.replace(address);
                assert_eq!(addresses.class_of(address), addresses.class_of(replaced));
                assert_eq!((address.is_ipv4(), address.is_loopback()), (replaced.is_ipv4(), replaced.is_loopback()));
                assert_eq!(replaced, replaced.to_canonical(), "never IPv4-mapped");
            }
        }
    }
}
