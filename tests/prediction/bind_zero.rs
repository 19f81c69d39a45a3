//! `bind()` to port 0, and `listen()` without `bind()`.

use crate::cases::{RESERVED, a, case, five_listeners, hold, local, plain};
use crate::forecast::Target;
use crate::support::{in_netns, set_sysctl};
use crate::world::{End, Kind, World, address, to};

#[test]
fn bind_to_port_0_is_refused_where_addresses_overlap() {
    in_netns("bind_zero::bind_to_port_0_is_refused_where_addresses_overlap", || {
        let leak: fn(&mut World) = |world| world.leave_all(30, a(), End::CloseWait);
        let leak_v6: fn(&mut World) = |world| world.leave_all(30, to("[::1]:7001"), End::CloseWait);
        let leak_v6only: fn(&mut World) = |world| {
            let v6only = Kind { v6only: true, ..Kind::default() };
            world.leave_all(30, to("[::1]:7001").as_kind(v6only), End::CloseWait);
        };
        let reuse_port = Kind { reuse_port: true, ..Kind::default() };
        hold(&[
            case("30 on the address", leak, plain("127.0.0.1"), (70, 70, 70)),
            case("30 on another address", leak, plain("127.0.0.9"), (100, 100, 100)),
            case("30, all addresses", leak, plain("0.0.0.0"), (70, 70, 70)),
            case("30, listen()", leak, Target::Listen, (70, 70, 70)),
            case("30, both families", leak, plain("::"), (70, 70, 70)),
            case("30, ::1", leak, plain("::1"), (100, 100, 100)),
            case("30, SO_REUSEPORT", leak, Target::Bind(local(1), reuse_port), (70, 70, 70)),
            case("30 on ::1, all IPv4 addresses", leak_v6, plain("0.0.0.0"), (70, 100, 70)),
            case("30 IPv6-only on ::1, all IPv4 addresses", leak_v6only, plain("0.0.0.0"), (70, 100, 100)),
            case("30 IPv6-only on ::1, both families", leak_v6only, plain("::"), (70, 70, 70)),
            case("30 on ::1, an IPv4 address", leak_v6, plain("127.0.0.1"), (100, 100, 100)),
            case("30 on ::1, the placeholder of IPv6", leak_v6, plain("127.0.0.6"), (100, 100, 100)),
            case("30 on ::1, ::1", leak_v6, plain("::1"), (70, 70, 70)),
            case(
                "20 in TIME-WAIT, all addresses",
                |world| {
                    world.leave_all(20, a(), End::TimeWait);
                    world.settle(0);
                },
                plain("0.0.0.0"),
                (80, 80, 80),
            ),
            case(
                "10 reserved, 5 listeners on another address",
                |world| {
                    set_sysctl(RESERVED, "40030-40039");
                    five_listeners(world, "127.0.0.9");
                },
                plain("127.0.0.1"),
                (90, 90, 90),
            ),
            case(
                "5 dual-stack listeners",
                |world| {
                    for port in 40_010..40_015 {
                        let at = address(&format!("[::]:{port}"));
                        world.bind(at, Kind::default(), Some(16)).expect("binds");
                    }
                },
                plain("127.0.0.1"),
                (95, 95, 95),
            ),
            case("5 IPv6-only listeners", |world| five_listeners(world, "[::]"), plain("127.0.0.1"), (100, 100, 100)),
            case(
                "all taken by connect() to one destination",
                |world| world.leave_all(100, a(), End::CloseWait),
                plain("127.0.0.1"),
                (0, 0, 0),
            ),
        ]);
    });
}
