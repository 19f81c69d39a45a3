//! Saved `/proc/net/tcp` and `/proc/net/tcp6`: which lines are theirs, and which byte order their host had.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::proc_net::{ByteOrder, parse_endpoint};
use crate::model::tuple::Family;

/// Whether the line is the header of such a table, or the line that `head` and `tail` print above each file.
pub(super) fn is_header(line: &str) -> bool {
    let mut words = line.split_whitespace();
    match words.next() {
        Some("sl") => words.next() == Some("local_address"),
        Some("==>") => line.contains("/net/tcp"),
        _ => false,
    }
}

/// The family of a row: a number with a colon, and an address of 8 or 32 digits. `None` when the line is no such row.
pub(super) fn family_of(line: &str) -> Option<Family> {
    let mut words = line.split_whitespace();
    let number = words.next()?.strip_suffix(':')?;
    let (address, _) = words.next()?.split_once(':')?;
    let is_hex = address.bytes().all(|byte| byte.is_ascii_hexdigit());
    match address.len() {
        _ if !is_hex || number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) => None,
        8 => Some(Family::V4),
        32 => Some(Family::V6),
        _ => None,
    }
}

/// Whether the line begins as a row does, whatever follows: what a cut text may end in.
pub(super) fn begins_row(line: &str) -> bool {
    let number = line.split_whitespace().next().and_then(|word| word.strip_suffix(':'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How the byte order was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The addresses make more sense in one of the orders, or the same in both.
    Sure(ByteOrder),
    /// They make as much sense in either: that of this machine is taken.
    Assumed(ByteOrder),
}

/// Finds the byte order of the host that these rows come from.
///
/// Each address, once, is read in both orders, and the order in which the addresses are the more plausible wins:
/// loopback, link-local and IPv4-mapped ones speak for an order most, private ones less, and those that no connection can
/// have (0.1.2.3, multicast, unassigned) against it.
pub(super) fn decide<'a>(rows: impl Iterator<Item = (&'a str, Family)>) -> Decision {
    let mut seen = HashSet::new();
    let (mut little, mut big, mut differ) = (0_i64, 0_i64, false);
    for (line, family) in rows {
        for word in line.split_whitespace().skip(1).take(2) {
            let read = |order| parse_endpoint(word, family, order).map(|endpoint| endpoint.address);
            let (Ok(as_little), Ok(as_big)) = (read(ByteOrder::Little), read(ByteOrder::Big)) else { continue };
            if as_little == as_big || !seen.insert((as_little, family)) {
                continue;
            }
            differ = true;
            little += plausibility(as_little, family);
            big += plausibility(as_big, family);
        }
    }
    match little.cmp(&big) {
        std::cmp::Ordering::Greater => Decision::Sure(ByteOrder::Little),
        std::cmp::Ordering::Less => Decision::Sure(ByteOrder::Big),
        std::cmp::Ordering::Equal if differ => Decision::Assumed(ByteOrder::HOST),
        std::cmp::Ordering::Equal => Decision::Sure(ByteOrder::HOST),
    }
}

fn plausibility(address: IpAddr, family: Family) -> i64 {
    const TELLING: i64 = 8;
    const LIKELY: i64 = 2;
    const IMPOSSIBLE: i64 = -4;
    match address {
        // IPv4-mapped.
        IpAddr::V4(_) if family == Family::V6 => TELLING,
        IpAddr::V4(address) if address == Ipv4Addr::LOCALHOST => TELLING,
        IpAddr::V4(address) if address.octets()[0] == 0 || address.octets()[0] >= 224 => IMPOSSIBLE,
        IpAddr::V4(address) if address.is_private() || address.is_link_local() || address.is_loopback() => LIKELY,
        IpAddr::V4(_) => 0,
        IpAddr::V6(address) if address == Ipv6Addr::LOCALHOST => TELLING,
        IpAddr::V6(address) if address.is_unicast_link_local() => TELLING,
        IpAddr::V6(address) if address.is_unique_local() || address.segments()[0] >> 13 == 1 => LIKELY,
        IpAddr::V6(_) => IMPOSSIBLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = include_str!("../../../fixtures/proc/tcp");
    const TCP6: &str = include_str!("../../../fixtures/proc/tcp6");

    /// The text as a host of the other byte order would have printed it.
    fn swapped(text: &str) -> String {
        let swap = |word: &str| -> String {
            let Some((address, port)) = word.split_once(':').filter(|(address, _)| address.len() % 8 == 0) else {
                return word.to_owned();
            };
            let words = address.as_bytes().chunks(8).map(|word| {
                word.chunks(2).rev().map(|byte| String::from_utf8_lossy(byte).into_owned()).collect::<String>()
            });
            format!("{}:{port}", words.collect::<String>())
        };
        let line = |line: &str| {
            let words = line.split_whitespace().enumerate();
            words
                .map(|(nth, word)| if matches!(nth, 1 | 2) { swap(word) } else { word.to_owned() })
                .collect::<Vec<_>>()
                .join(" ")
        };
        text.lines()
            .map(|text| if is_header(text) { text.to_owned() } else { line(text) })
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn decision(text: &str) -> Decision {
        decide(text.lines().filter_map(|line| family_of(line).map(|family| (line, family))))
    }

    fn v4(address: &str) -> String {
        let address: Ipv4Addr = address.parse().expect("an address");
        format!("0: {:08X}:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1 1\n", u32::from_le_bytes(address.octets()))
    }

    #[test]
    fn recorded_tables_tell_their_byte_order() {
        for text in [TCP, TCP6] {
            assert_eq!(decision(text), Decision::Sure(ByteOrder::Little));
            assert_eq!(decision(&swapped(text)), Decision::Sure(ByteOrder::Big));
        }
    }

    #[test]
    fn private_networks_outweigh_and_a_tie_is_assumed() {
        assert_eq!(decision(&[v4("10.0.0.5"), v4("10.0.0.7")].concat()), Decision::Sure(ByteOrder::Little));
        assert_eq!(decision(&v4("8.8.4.4")), Decision::Assumed(ByteOrder::HOST));
        assert_eq!(decision(&v4("10.1.2.10")), Decision::Assumed(ByteOrder::HOST));
        assert_eq!(decision(&v4("0.0.0.0")), Decision::Sure(ByteOrder::HOST), "both orders read the same");
    }

    #[test]
    fn rows_are_known_by_their_shape() {
        assert_eq!(family_of("   0: 0100007F:1F90 00000000:0000 0A"), Some(Family::V4));
        assert_eq!(family_of(&format!("12: {}:0016", "0".repeat(32))), Some(Family::V6));
        for none in ["0: 0100007F", "x: 0100007F:1", "0: 0100007:1F90", "ESTAB 0 0 *:80 *:*", ":", "12:30:05 up 3 days"]
        {
            assert_eq!(family_of(none), None, "{none}");
        }
        assert!(begins_row("  12: 0100") && !begins_row("12:30:05 up"));
        assert!(is_header("  sl  local_address rem_address   st") && is_header("==> /proc/net/tcp6 <=="));
    }
}
