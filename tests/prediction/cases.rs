//! One case: a set-up, a target, and what is to come of it.

use std::net::{IpAddr, Ipv4Addr};

use crate::forecast::{Mode, Target, forecast};
use crate::support::set_sysctl;
use crate::world::{Call, Kind, World, address, in_world, ip, to};

pub const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
pub const RANGE: &str = "net.ipv4.ip_local_port_range";

/// Of the hundred ports 40000 to 40099.
pub struct Case {
    name: &'static str,
    set_up: fn(&mut World),
    target: Target,
    /// At least, at most, and what is really had.
    expected: (u32, u32, u32),
}

pub fn case(name: &'static str, set_up: fn(&mut World), target: Target, expected: (u32, u32, u32)) -> Case {
    Case { name, set_up, target, expected }
}

/// Holds each case in a world of its own: predicted from the sockets alone, and with the kernel asked.
pub fn hold(cases: &[Case]) {
    for case in cases {
        for mode in [Mode::Bounds, Mode::Exact] {
            let seen = in_world(|world| {
                set_sysctl(RANGE, "40000 40099");
                (case.set_up)(world);
                forecast(world, &case.target, mode)
            });
            assert_eq!(seen.complaint(&case.target), None, "{}, {mode:?}", case.name);
            let had = (seen.at_least, seen.at_most, seen.observed);
            assert_eq!(had, case.expected, "{}, {mode:?}: {:?}", case.name, seen.doubts);
        }
    }
}

pub fn a() -> Call {
    to("127.0.0.1:7001")
}

pub fn b() -> Call {
    to("127.0.0.1:7002")
}

pub fn connect(call: Call) -> Target {
    Target::Connect(call)
}

pub fn local(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

pub fn plain(address: &str) -> Target {
    Target::Bind(ip(address), Kind::default())
}

/// Five listeners on ports of the range.
pub fn five_listeners(world: &mut World, at: &str) {
    for port in 40_010..40_015 {
        let kind = Kind { v6only: true, ..Kind::default() };
        world.bind(address(&format!("{at}:{port}")), kind, Some(16)).expect("binds");
    }
}
