//! When the port of a connection in TIME-WAIT can be had.

use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use rustix::net::listen;

use crate::cases::{a, b, case, connect, hold, local};
use crate::support::{in_netns, run, set_sysctl, skip};
use crate::world::{Call, End, Kind, Local, World, address, ip, open, to};

const REUSE: &str = "net.ipv4.tcp_tw_reuse";
const REUSE_DELAY: &str = "net.ipv4.tcp_tw_reuse_delay";
const TIMESTAMPS: &str = "net.ipv4.tcp_timestamps";

/// Sets when a TIME-WAIT may be taken over, and makes 20 of them. `None` is a delay that has passed, else it is one of
/// so many milliseconds.
fn twenty_time_waits(world: &mut World, reuse: &str, delay: Option<&str>) {
    set_sysctl(REUSE, reuse);
    make_time_waits(world, 20, a(), delay.unwrap_or("1"));
}

/// Makes connections in TIME-WAIT, none of which takes over another one, and only then sets the delay.
fn make_time_waits(world: &mut World, count: usize, call: Call, delay_ms: &str) {
    set_sysctl(REUSE_DELAY, "50000");
    world.leave_all(count, call, End::TimeWait);
    set_sysctl(REUSE_DELAY, delay_ms);
    world.settle(30);
}

fn has_reuse_delay(test: &str) -> bool {
    let known = std::fs::exists(format!("/proc/sys/{}", REUSE_DELAY.replace('.', "/"))).is_ok_and(|known| known);
    if !known {
        skip(test, "needs net.ipv4.tcp_tw_reuse_delay (Linux 6.14), so that no clock of whole seconds is in the way");
    }
    known
}

#[test]
fn time_wait_is_taken_over_by_the_rules() {
    let test = "time_wait::time_wait_is_taken_over_by_the_rules";
    in_netns(test, || {
        if !has_reuse_delay(test) {
            return;
        }
        const YOUNG: Option<&str> = Some("50000");
        hold(&[
            case("reuse 2, young", |world| twenty_time_waits(world, "2", YOUNG), connect(a()), (80, 80, 80)),
            case("reuse 2, old", |world| twenty_time_waits(world, "2", None), connect(a()), (80, 100, 100)),
            case("reuse 0", |world| twenty_time_waits(world, "0", None), connect(a()), (80, 80, 80)),
            case("reuse 1, young", |world| twenty_time_waits(world, "1", YOUNG), connect(a()), (80, 80, 80)),
            case("reuse 1, old", |world| twenty_time_waits(world, "1", None), connect(a()), (80, 100, 100)),
            case("another destination", |world| twenty_time_waits(world, "2", None), connect(b()), (80, 100, 100)),
            case(
                "the delay that the kernel begins with",
                |world| {
                    world.leave_all(20, a(), End::TimeWait);
                    world.settle(1100);
                },
                connect(a()),
                (80, 100, 100),
            ),
            case(
                "no timestamps",
                |world| {
                    set_sysctl(TIMESTAMPS, "0");
                    twenty_time_waits(world, "2", None);
                },
                connect(a()),
                (80, 100, 80),
            ),
            case(
                "timestamps turned off since",
                |world| {
                    twenty_time_waits(world, "2", None);
                    set_sysctl(TIMESTAMPS, "0");
                },
                connect(a()),
                (80, 100, 100),
            ),
            case(
                "FIN-WAIT-2 without a process",
                |world| {
                    set_sysctl(REUSE, "1");
                    set_sysctl(REUSE_DELAY, "1");
                    world.leave_all(20, a(), End::FinWait2);
                    world.settle(0);
                },
                connect(a()),
                (80, 80, 80),
            ),
            case(
                "of connections that had been bound to port 0",
                |world| {
                    make_time_waits(world, 20, a().from(Local::Zero(local(1))), "1");
                },
                connect(a()),
                (80, 100, 80),
            ),
        ]);
    });
}

/// A peer in a namespace of its own, 10.9.0.2 across a veth pair from 10.9.0.1, that listens on port 7001.
fn peer_across_veth(world: &mut World) {
    let (tid_to, tid) = mpsc::channel();
    let (ready, wait_ready) = mpsc::channel();
    let (listener_to, listener) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root of a user namespace may");
            tid_to.send(rustix::thread::gettid().as_raw_nonzero().to_string()).expect("is waited for");
            wait_ready.recv().expect("is sent");
            run("ip", &["address", "add", "10.9.0.2/24", "dev", "far"]);
            run("ip", &["link", "set", "far", "up"]);
            let socket = open(ip("10.9.0.2"), Kind::default()).expect("a socket");
            rustix::net::bind(&socket, &address("10.9.0.2:7001")).expect("binds");
            listen(&socket, 4096).expect("listens");
            listener_to.send(socket).expect("is waited for");
        });
        let tid = tid.recv().expect("is sent");
        run("ip", &["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &tid]);
        run("ip", &["address", "add", "10.9.0.1/24", "dev", "near"]);
        run("ip", &["link", "set", "near", "up"]);
        ready.send(()).expect("is waited for");
        world.adopt(address("10.9.0.2:7001"), listener.recv().expect("is sent"));
    });
}

fn twenty_across(world: &mut World, reuse: &str, delay_ms: &str) {
    peer_across_veth(world);
    set_sysctl(REUSE, reuse);
    make_time_waits(world, 20, to("10.9.0.2:7001"), delay_ms);
}

#[test]
fn time_wait_across_a_wire_needs_the_global_setting() {
    let test = "time_wait::time_wait_across_a_wire_needs_the_global_setting";
    in_netns(test, || {
        if !has_reuse_delay(test) {
            return;
        }
        let far = connect(to("10.9.0.2:7001"));
        hold(&[
            case("reuse 2", |world| twenty_across(world, "2", "1"), far, (80, 80, 80)),
            case("reuse 1, old", |world| twenty_across(world, "1", "1"), far, (80, 100, 100)),
            case("reuse 1, young", |world| twenty_across(world, "1", "50000"), far, (80, 80, 80)),
            case(
                "reuse 1, no timestamps",
                |world| {
                    set_sysctl(TIMESTAMPS, "0");
                    twenty_across(world, "1", "1");
                },
                far,
                (80, 100, 80),
            ),
        ]);
    });
}
