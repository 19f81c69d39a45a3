//! One end of a connection as `ss` and `netstat` print it.
//!
//! Since iproute2 4.13 IPv6 addresses stand in brackets, `*` is the wildcard of an IPv6 socket that takes IPv4 too, and
//! `0.0.0.0` that of IPv4. Before, nothing stood in brackets, `*` was the wildcard of IPv4, and `::` that of IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::services::port_of;
use crate::capture::proc_net::quoted;
use crate::model::tuple::Family;

/// An address and a port as they were printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Host,
    /// 0 for `*`.
    pub(super) port: u16,
    /// The interface behind `%`.
    pub(super) zone: Option<String>,
    /// Whether the port was printed as the name of a service.
    pub(super) named_port: bool,
}

/// The address of a [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// `*`: of which family the layout decides.
    Any,
    V4(Ipv4Addr),
    /// `bracketed` as by iproute2 4.13 and later.
    V6 {
        address: Ipv6Addr,
        bracketed: bool,
    },
}

impl Host {
    /// The family that the spelling shows.
    pub(super) fn family(self) -> Option<Family> {
        match self {
            Self::Any => None,
            Self::V4(_) => Some(Family::V4),
            Self::V6 { .. } => Some(Family::V6),
        }
    }

    /// The address; that of `*` is the wildcard of this family.
    pub(super) fn address(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::V4(address), _) => address.into(),
            (Self::V6 { address, .. }, _) => address.into(),
            (Self::Any, Family::V4) => Ipv4Addr::UNSPECIFIED.into(),
            (Self::Any, Family::V6) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// Reads `10.0.0.5:80`, `*:80`, `0.0.0.0%lo:80`, `[fe80::1]%eth0:22`, `[fe80::1%eth0]:22`, `fe80::1%eth0:22`, `:::80`,
/// with a port, the name of one, or `*`. An error says what is wrong.
pub(super) fn parse_place(text: &str) -> Result<Place, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("no address and port: {}", quoted(text)))?;
    let (port, named_port) = parse_port(port)?;
    let (host, zone) = match host.rsplit_once('%') {
        Some((host, zone)) => (host, Some(zone.trim_end_matches(']'))),
        None => (host, None),
    };
    let bracketed = host.starts_with('[');
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let host = match plain {
        "*" => Host::Any,
        plain => match plain.parse() {
            Ok(IpAddr::V4(address)) => Host::V4(address),
            Ok(IpAddr::V6(address)) => Host::V6 { address, bracketed },
            Err(_) => return Err(format!("no address: {}; names of hosts cannot be read back (ss -n)", quoted(plain))),
        },
    };
    Ok(Place { host, port, zone: zone.map(str::to_owned), named_port })
}

fn parse_port(text: &str) -> Result<(u16, bool), String> {
    if text == "*" {
        return Ok((0, false));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(|port| (port, false)).map_err(|_| format!("no port: {}", quoted(text)));
    }
    let unknown = || format!("the port {} is a name that is not known; ss -n prints numbers", quoted(text));
    port_of(text).map(|port| (port, true)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> (Option<Family>, String, u16, Option<String>) {
        let place = parse_place(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        (place.host.family(), place.host.address(Family::V4).to_string(), place.port, place.zone)
    }

    #[test]
    fn every_spelling_is_read() {
        let (v4, v6) = (Some(Family::V4), Some(Family::V6));
        for (text, family, address, port, zone) in [
            ("10.0.0.5:80", v4, "10.0.0.5", 80, None),
            ("0.0.0.0:*", v4, "0.0.0.0", 0, None),
            ("0.0.0.0%lo:80", v4, "0.0.0.0", 80, Some("lo")),
            ("*:http", None, "0.0.0.0", 80, None),
            ("*:*", None, "0.0.0.0", 0, None),
            ("*%eth0.100:68", None, "0.0.0.0", 68, Some("eth0.100")),
            ("[::]:443", v6, "::", 443, None),
            (":::443", v6, "::", 443, None),
            (":::*", v6, "::", 0, None),
            ("[fe80::1]%eth0:22", v6, "fe80::1", 22, Some("eth0")),
            ("[fe80::1%eth0]:22", v6, "fe80::1", 22, Some("eth0")),
            ("fe80::1%eth0:22", v6, "fe80::1", 22, Some("eth0")),
            ("[::ffff:1.2.3.4]:80", v6, "::ffff:1.2.3.4", 80, None),
            ("::ffff:1.2.3.4:80", v6, "::ffff:1.2.3.4", 80, None),
            ("2001:db8::5:59470", v6, "2001:db8::5", 59470, None),
        ] {
            assert_eq!(shape(text), (family, address.to_owned(), port, zone.map(str::to_owned)), "{text}");
        }
        assert!(parse_place("*:http").expect("a place").named_port);
    }

    #[test]
    fn what_is_no_place_says_why() {
        for (text, why) in [
            ("10.0.0.5", "no address and port"),
            ("web1.example.org:80", "names of hosts cannot be read back"),
            ("10.0.0.5:70000", "no port"),
            ("10.0.0.5:frobnicate", "a name that is not known"),
            ("10.0.0.5:", "no port"),
            ("10.0.0.256:1", "no address"),
            (":80", "no address"),
        ] {
            let error = parse_place(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
