//! Addresses: endpoints, four-tuples and the networks of a filter.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address family that a socket was opened with. An IPv6 socket may carry an IPv4 connection: see [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// An address and a port. IPv4-mapped IPv6 addresses are written as the IPv4 address they are, so that endpoints that
/// compete for the same ports compare equal; what the socket was opened as is kept in its [`Family`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address, never an IPv4-mapped one.
    pub address: IpAddr,
    /// The port; 0 on the remote side of a socket that has no peer.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint, with an IPv4-mapped address made plain.
    #[must_use]
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self { address: address.to_canonical(), port }
    }

    /// Whether the address is `0.0.0.0` or `::`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.address.is_unspecified()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => f.pad(&format!("{address}:{}", self.port)),
            IpAddr::V6(address) => f.pad(&format!("[{address}]:{}", self.port)),
        }
    }
}

/// Both ends of a connection, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourTuple {
    /// This end.
    pub local: Endpoint,
    /// The peer's end; all zero for a listener.
    pub remote: Endpoint,
}

/// A network in CIDR notation, as `--local` and `--peer` take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of this address with this many leading bits; `None` when the prefix is longer than the address.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = address.to_canonical();
        (prefix <= bits_of(address)).then_some(Self { address, prefix })
    }

    /// The network of just this address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: bits_of(address) }
    }

    /// The address as it was given.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in this network. An IPv4-mapped address is looked up as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                shift == 32 || (Ipv4Addr::to_bits(net) ^ Ipv4Addr::to_bits(address)) >> shift == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || (Ipv6Addr::to_bits(net) ^ Ipv6Addr::to_bits(address)) >> shift == 0
            }
            _ => false,
        }
    }
}

fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_made_plain() {
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
        assert_eq!(Endpoint::new(mapped, 80).to_string(), "10.0.0.1:80");
        assert_eq!(Endpoint::new("fe80::1".parse().expect("an address"), 80).to_string(), "[fe80::1]:80");
    }

    #[test]
    fn networks_hold_what_their_prefix_says() {
        let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let net = Network::new(address("10.0.3.0"), 24).expect("a prefix that fits");
        assert!(net.contains(address("10.0.3.255")) && net.contains(address("::ffff:10.0.3.1")));
        assert!(!net.contains(address("10.0.4.0")) && !net.contains(address("::1")));
        assert!(Network::new(address("0.0.0.0"), 0).expect("fits").contains(address("9.9.9.9")));
        assert!(Network::new(address("::"), 0).expect("fits").contains(address("::1")));
        assert_eq!(Network::new(address("1.2.3.4"), 33), None);
    }
}
