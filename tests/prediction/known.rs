//! Set-ups whose outcome is known, one by one.

use std::net::SocketAddr;

use crate::cases::{RANGE, RESERVED, a, b, case, connect, five_listeners, hold, local, plain};
use crate::forecast::{Mode, forecast, take_snapshot};
use crate::support::{in_netns, set_sysctl};
use crate::world::{End, Kind, Local, World, address, any, in_world, to};

fn ten_named(world: &mut World, kind: Kind) {
    for port in 40_020..40_030 {
        world.leave_all(1, b().as_kind(kind).from(Local::Port(local(1), port)), End::CloseWait);
    }
}

#[test]
fn connections_use_up_their_own_destination() {
    in_netns("known::connections_use_up_their_own_destination", || {
        let leak: fn(&mut World) = |world| world.leave_all(30, a(), End::CloseWait);
        hold(&[
            case("nothing there", |_| {}, connect(a()), (100, 100, 100)),
            case("30 to the same destination", leak, connect(a()), (70, 70, 70)),
            case("30 to another port", leak, connect(b()), (70, 100, 100)),
            case("30 to another address", leak, connect(to("127.0.0.2:7001")), (70, 100, 100)),
            case(
                "30 from another source",
                |world| world.leave_all(30, a().from(Local::Late(local(3))), End::CloseWait),
                connect(a()),
                (70, 100, 100),
            ),
            case("30 seen from another source", leak, connect(a().from(Local::Late(local(3)))), (70, 100, 100)),
            case("30 established", |world| world.leave_all(30, a(), End::Established), connect(a()), (70, 70, 70)),
            case(
                "10 in SYN-SENT",
                |world| {
                    world.full_server(a().to);
                    for _ in 0..10 {
                        let client = crate::world::dial(&a(), rustix::net::SocketFlags::NONBLOCK).expect("connects");
                        world.hold(client);
                    }
                },
                connect(a()),
                (90, 90, 90),
            ),
            case(
                "10 orphans in FIN-WAIT-1",
                |world| world.leave_all(10, a(), End::FinWait1),
                connect(a()),
                (90, 90, 90),
            ),
            case("all taken", |world| world.leave_all(100, a(), End::CloseWait), connect(a()), (0, 0, 0)),
        ]);
    });
}

#[test]
fn bound_ports_are_lost_to_every_destination() {
    in_netns("known::bound_ports_are_lost_to_every_destination", || {
        hold(&[
            case("listeners on 0.0.0.0", |world| five_listeners(world, "0.0.0.0"), connect(a()), (95, 95, 95)),
            case(
                "listeners on another address",
                |world| five_listeners(world, "127.0.0.9"),
                connect(a()),
                (95, 95, 95),
            ),
            case("listeners on ::1", |world| five_listeners(world, "[::1]"), connect(a()), (95, 95, 95)),
            case(
                "bound and nothing else",
                |world| {
                    for port in 40_060..40_065 {
                        let at = SocketAddr::new(local(9), port);
                        world.bind(at, Kind::default(), None).expect("binds");
                    }
                },
                connect(a()),
                (95, 95, 95),
            ),
            case("bind() and connect()", |world| ten_named(world, Kind::default()), connect(a()), (90, 90, 90)),
            case(
                "with SO_REUSEADDR",
                |world| ten_named(world, Kind { reuse_address: true, ..Kind::default() }),
                connect(a()),
                (90, 90, 90),
            ),
            case(
                "with SO_REUSEPORT",
                |world| ten_named(world, Kind { reuse_port: true, ..Kind::default() }),
                connect(a()),
                (90, 90, 90),
            ),
            case(
                "bind() to port 0 and connect()",
                |world| world.leave_all(10, b().from(Local::Zero(local(1))), End::CloseWait),
                connect(a()),
                (90, 100, 90),
            ),
            case(
                "IP_BIND_ADDRESS_NO_PORT",
                |world| world.leave_all(10, b().from(Local::Late(local(1))), End::CloseWait),
                connect(a()),
                (90, 100, 100),
            ),
            case(
                "IP_BIND_ADDRESS_NO_PORT, same destination",
                |world| world.leave_all(10, a().from(Local::Late(local(1))), End::CloseWait),
                connect(a()),
                (90, 90, 90),
            ),
            case(
                "accepted connections that outlive their listener",
                |world| {
                    for port in 40_040..40_043 {
                        world.orphan_accepted(address(&format!("127.0.0.1:{port}"))).expect("accepts");
                    }
                },
                connect(a()),
                (97, 100, 97),
            ),
            case(
                "all taken by bind() of another address to port 0",
                |world| {
                    for _ in 0..100 {
                        world.bind(any(local(9)), Kind::default(), None).expect("binds");
                    }
                },
                connect(a()),
                (0, 0, 0),
            ),
        ]);
    });
}

/// Binds another address on each port that a socket has.
fn bind_over_all(world: &mut World) {
    for socket in take_snapshot().sockets.iter().filter(|socket| socket.tuple.local.port >= 40_000) {
        let at = SocketAddr::new(local(9), socket.tuple.local.port);
        world.bind(at, Kind::default(), None).expect("binds");
    }
}

#[test]
fn a_port_closed_by_bind_over_a_connection_opens_again() {
    in_netns("known::a_port_closed_by_bind_over_a_connection_opens_again", || {
        hold(&[case(
            "bound over 5 connections",
            |world| {
                world.leave_all(5, b(), End::CloseWait);
                bind_over_all(world);
            },
            connect(a()),
            (95, 95, 95),
        )]);
        // Kernels before 6.18 keep the port closed: both outcomes lie within the bounds, and asking tells which it is.
        for mode in [Mode::Bounds, Mode::Exact] {
            let seen = in_world(|world| {
                set_sysctl(RANGE, "40000 40099");
                world.leave_all(5, b(), End::CloseWait);
                let before = world.held();
                bind_over_all(world);
                world.release(before);
                forecast(world, &connect(a()), mode)
            });
            assert_eq!(seen.complaint(&connect(a())), None);
            assert_eq!((seen.at_least, seen.at_most), (95, 100));
        }
    });
}

#[test]
fn reserved_ports_are_not_handed_out() {
    in_netns("known::reserved_ports_are_not_handed_out", || {
        hold(&[
            case("10 reserved", |_| set_sysctl(RESERVED, "40010-40019"), connect(a()), (90, 90, 90)),
            case(
                "30 to the same destination, then 20 of their ports and 2 free ones reserved",
                |world| {
                    world.leave_all(30, a(), End::CloseWait);
                    let snapshot = take_snapshot();
                    let used: Vec<u16> = snapshot
                        .sockets
                        .iter()
                        .map(|socket| socket.tuple.local.port)
                        .filter(|port| (40_000..=40_099).contains(port))
                        .collect();
                    let free = (40_000..=40_099).filter(|port| !used.contains(port)).take(2);
                    let list: Vec<String> =
                        used.iter().copied().take(20).chain(free).map(|port| port.to_string()).collect();
                    set_sysctl(RESERVED, &list.join(","));
                },
                connect(a()),
                (68, 68, 68),
            ),
        ]);
    });
}

#[test]
fn families_and_interfaces_have_their_own_tuples() {
    in_netns("known::families_and_interfaces_have_their_own_tuples", || {
        let v6 = to("[::1]:7001");
        let mapped = a().as_kind(Kind { mapped: true, ..Kind::default() });
        let on_loopback = a().as_kind(Kind { on_loopback: true, ..Kind::default() });
        hold(&[
            case("::1", |world| world.leave_all(30, to("[::1]:7001"), End::CloseWait), connect(v6), (70, 70, 70)),
            case("IPv4 seen from ::1", |world| world.leave_all(30, a(), End::CloseWait), connect(v6), (70, 100, 100)),
            case(
                "mapped seen from IPv4",
                |world| {
                    let mapped = a().as_kind(Kind { mapped: true, ..Kind::default() });
                    world.leave_all(30, mapped, End::CloseWait);
                },
                connect(a()),
                (70, 70, 70),
            ),
            case(
                "IPv4 seen from mapped",
                |world| world.leave_all(30, a(), End::CloseWait),
                connect(mapped),
                (70, 70, 70),
            ),
            case(
                "bound to lo, seen from none",
                |world| {
                    let on_loopback = a().as_kind(Kind { on_loopback: true, ..Kind::default() });
                    world.leave_all(10, on_loopback, End::CloseWait);
                },
                connect(a()),
                (90, 100, 100),
            ),
            case(
                "bound to none, seen from lo",
                |world| world.leave_all(10, a(), End::CloseWait),
                connect(on_loopback),
                (90, 90, 90),
            ),
            case(
                "bound to lo, seen from lo",
                |world| {
                    let on_loopback = a().as_kind(Kind { on_loopback: true, ..Kind::default() });
                    world.leave_all(10, on_loopback, End::CloseWait);
                },
                connect(on_loopback),
                (90, 90, 90),
            ),
        ]);
    });
}

#[test]
fn an_odd_range_hides_one_port_or_none() {
    in_netns("known::an_odd_range_hides_one_port_or_none", || {
        let mut observed = Vec::new();
        for (range, size) in [("40000 40000", 1), ("40000 40002", 3), ("40000 40004", 5), ("40000 40100", 101)] {
            for target in [connect(a()), plain("127.0.0.1")] {
                for _ in 0..4 {
                    let seen = in_world(|world| {
                        set_sysctl(RANGE, range);
                        forecast(world, &target, Mode::Exact)
                    });
                    assert_eq!(seen.complaint(&target), None, "{range}");
                    let lost = u32::from(size > 1);
                    assert_eq!((seen.at_least, seen.at_most), (size - lost, size), "{range}");
                    observed.push((size, seen.observed));
                }
            }
        }
        assert!(observed.contains(&(3, 2)), "{observed:?}");
        hold(&[case(
            "both ends reserved",
            |_| {
                set_sysctl(RANGE, "40000 40100");
                set_sysctl(RESERVED, "40000,40100");
            },
            connect(a()),
            (99, 99, 99),
        )]);
    });
}
