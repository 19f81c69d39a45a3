//! `probe exhaust` among sockets of others, of every kind that takes a port and of every kind that does not.

use std::net::{IpAddr, Ipv4Addr};

use closewatch::capture::live::LiveHost;
use closewatch::capture::{Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource};
use closewatch::model::selection::Selection;
use closewatch::probe::crew::StopSignals;
use closewatch::probe::exhaust::{self, Figures};
use closewatch::probe::{Stage, outcome::Outcome};

use crate::support::{in_netns, set_sysctl};
use crate::world::{End, Kind, Local, World, address, in_world, ip, to};

fn exhaust() -> Outcome<Figures> {
    let look = || {
        let request = Request {
            netns: NetNsChoice::Current,
            selection: Selection::default(),
            processes: ProcessChoice::Skip,
            port_probe: PortProbeChoice::Bounds,
            deadline: Deadline::never(),
        };
        LiveHost.take(&request).map_err(|error| error.to_string())
    };
    let stage = Stage {
        program: env!("CARGO_BIN_EXE_closewatch").into(),
        look: &look,
        tell: &|_| {},
        stop: StopSignals::ignored(),
    };
    exhaust::run(&stage, None).unwrap_or_else(|error| panic!("{error}"))
}

/// Of a range of 100 ports, so many must be left to the destination of the probe, and so many must come.
fn assert_left(left: u32, mixture: &str, set_up: impl FnOnce(&mut World) + Send) {
    let outcome = in_world(|world| {
        set_sysctl("net.ipv4.ip_local_port_range", "40000 40099");
        set_up(world);
        world.settle(0);
        exhaust()
    });
    let Figures { predicted, observed, recovered, .. } = &outcome.figures;
    assert_eq!((*predicted, *observed, *recovered), (left, left, left), "{mixture}: {:#?}", outcome.steps);
    assert!(outcome.confirmed, "{mixture}: {:#?}", outcome.steps);
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn listeners(world: &mut World, ports: std::ops::Range<u16>) {
    for port in ports {
        world.bind((ANY, port).into(), Kind::default(), Some(8)).expect("a port");
    }
}

fn bound(world: &mut World, ports: std::ops::Range<u16>) {
    for port in ports {
        world.bind((ip("127.0.0.9"), port).into(), Kind::default(), None).expect("a port");
    }
}

#[test]
fn what_is_predicted_among_others_is_what_comes() {
    in_netns("mixtures::what_is_predicted_among_others_is_what_comes", || {
        assert_left(100, "an empty namespace", |_| {});
        assert_left(100, "30 in CLOSE-WAIT to another destination", |world| {
            world.leave_all(30, to("127.0.0.1:7000"), End::CloseWait);
        });
        assert_left(95, "5 listeners", |world| listeners(world, 40_010..40_015));
        assert_left(90, "10 bound at another address", |world| bound(world, 40_020..40_030));
        assert_left(95, "5 IPv6 listeners", |world| {
            for port in 40_040..40_045 {
                let kind = Kind { v6only: true, ..Kind::default() };
                world.bind((ip("::1"), port).into(), kind, Some(8)).expect("a port");
            }
        });
        assert_left(80, "20 reserved", |_| set_sysctl("net.ipv4.ip_local_reserved_ports", "40000-40019"));
        assert_left(93, "7 that named their port to another destination", |world| {
            for port in 40_050..40_057 {
                let call = to("127.0.0.1:7000").from(Local::Port(ip("127.0.0.1"), port));
                world.leave_all(1, call, End::Established);
            }
        });
        assert_left(100, "20 in TIME-WAIT to another destination", |world| {
            world.leave_all(20, to("127.0.0.1:7000"), End::TimeWait);
        });
        assert_left(100, "15 from another address", |world| {
            let call = to("127.0.0.1:7000").from(Local::Late(ip("127.0.0.5")));
            world.leave_all(15, call, End::CloseWait);
        });
        assert_left(72, "all of it at once", |world| {
            set_sysctl("net.ipv4.ip_local_reserved_ports", "40000-40009,40095-40099");
            listeners(world, 40_010..40_015);
            bound(world, 40_020..40_025);
            for port in 40_060..40_063 {
                let call = to("127.0.0.1:7001").from(Local::Port(ip("127.0.0.1"), port));
                world.leave_all(1, call, End::Established);
            }
            // The kernel chooses the ports of these: those that are named come first.
            world.leave_all(12, to("127.0.0.1:7000"), End::CloseWait);
            let at = address("127.0.0.1:7002");
            world.bind(at, Kind::default(), Some(8)).expect("a port out of the range");
        });
    });
}
