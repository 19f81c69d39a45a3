//! Mixtures that nobody thought of.

use std::net::{IpAddr, SocketAddr};

use closewatch::capture::sysctl::read_port_settings;

use crate::forecast::{Forecast, Mode, Target, forecast, take_snapshot};
use crate::support::{in_netns, set_sysctl};
use crate::world::{Call, End, Kind, Local, V6_LOOPBACK, World, any, in_world, ip, to};

/// The same mixtures in every run; another number here, or in the environment, makes others.
const FIRST_SEED: u64 = 1;
const SEED_VARIABLE: &str = "CLOSEWATCH_TEST_SEED";
const MIXTURES: u64 = 100;

/// Numbers that look random (splitmix64, Vigna).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

struct Range {
    first: u16,
    size: u16,
}

impl Range {
    fn any_port(&self, dice: &mut Dice) -> u16 {
        self.first + dice.below(u64::from(self.size)) as u16
    }
}

#[test]
fn mixtures_are_predicted() {
    in_netns("random::mixtures_are_predicted", || {
        let first = std::env::var(SEED_VARIABLE).map_or(FIRST_SEED, |seed| seed.parse().expect("a number"));
        let mut exact = 0;
        let mut in_doubt = 0;
        for seed in first..first + MIXTURES {
            for forecast in mixture(seed) {
                in_doubt += u32::from(forecast.at_least != forecast.at_most);
                exact += u32::from(forecast.asked.is_some() && forecast.gaps.is_empty());
            }
        }
        assert!(exact > 100 && in_doubt > 100, "{exact} asked, {in_doubt} in doubt: the mixtures are too plain");
    });
}

/// Makes the mixture of this seed and tries three targets in it.
fn mixture(seed: u64) -> Vec<Forecast> {
    let case = |world: &mut World| {
        let mut dice = Dice(seed);
        let range = rules(&mut dice);
        let late_change = dice.one_in(8);
        let history = (0..1 + dice.below(8)).map(|_| act(world, &mut dice, &range)).collect::<Vec<_>>();
        if late_change {
            set_sysctl("net.ipv4.tcp_timestamps", if dice.one_in(2) { "0" } else { "1" });
        }
        let rules = read_port_settings(&mut Vec::new());
        // Without the setting a clock of whole seconds decides, and must not tick in between.
        world.settle(if rules.tw_reuse_delay_ms.is_some() { 30 } else { 1100 });
        let targets = [a_connect(&mut dice), a_connect(&mut dice), a_bind(&mut dice)];
        let mut forecasts = Vec::new();
        for target in targets {
            let mode = dice.pick(&[Mode::Bounds, Mode::Exact]);
            let outcome = forecast(world, &target, mode);
            if let Some(complaint) = outcome.complaint(&target) {
                let sockets: Vec<String> = outcome.seen.iter().map(|socket| format!("{socket:?}\n")).collect();
                panic!(
                    "{SEED_VARIABLE}={seed}: {target:?}, {mode:?}: {complaint}\n{rules:?}\n{history:#?}\n{}",
                    sockets.concat()
                );
            }
            forecasts.push(outcome);
        }
        forecasts
    };
    in_world(case)
}

/// Draws the settings of the namespace.
fn rules(dice: &mut Dice) -> Range {
    let size = dice.pick(&[100, 101, 150, 151, 60]);
    let range = Range { first: 40_000 + dice.below(3) as u16, size };
    set_sysctl("net.ipv4.ip_local_port_range", &format!("{} {}", range.first, range.first + size - 1));
    if dice.one_in(2) {
        let reserved: Vec<String> = (0..dice.below(20)).map(|_| range.any_port(dice).to_string()).collect();
        set_sysctl("net.ipv4.ip_local_reserved_ports", &reserved.join(","));
    }
    set_sysctl("net.ipv4.tcp_tw_reuse", dice.pick(&["0", "1", "2", "2"]));
    set_sysctl("net.ipv4.tcp_timestamps", dice.pick(&["0", "1", "1", "1"]));
    let delay = "net.ipv4.tcp_tw_reuse_delay";
    if std::fs::exists(format!("/proc/sys/{}", delay.replace('.', "/"))).expect("can be asked") {
        set_sysctl(delay, dice.pick(&["1", "1", "50000"]));
    }
    range
}

/// The destination of the connections that are bound to `lo`.
const ON_LOOPBACK: &str = "127.0.0.1:7002";

fn destination(dice: &mut Dice) -> Call {
    to(dice.pick(&["127.0.0.1:7001", "127.0.0.1:7001", ON_LOOPBACK, "127.0.0.2:7001", "[::1]:7001"]))
}

/// A connection to somewhere, by one of the ways that leave the port to the kernel or name it.
fn a_call(dice: &mut Dice, range: &Range) -> Call {
    let call = destination(dice);
    let v6 = call.to.is_ipv6();
    let source = if v6 { V6_LOOPBACK } else { ip(dice.pick(&["127.0.0.1", "127.0.0.1", "127.0.0.3"])) };
    let local = match dice.below(8) {
        0 => Local::Zero(source),
        1 => Local::Late(source),
        2 => Local::Port(source, range.any_port(dice)),
        _ => Local::Routed,
    };
    let kind = Kind {
        mapped: !v6 && dice.one_in(4),
        v6only: v6 && dice.one_in(2),
        reuse_address: dice.one_in(4),
        reuse_port: dice.one_in(8),
        // Twins, of one four-tuple on different interfaces, take each other's packets: they come of the targets only.
        on_loopback: call.to == to(ON_LOOPBACK).to,
    };
    call.from(local).as_kind(kind)
}

/// An address to bind, and the kind of socket that fits it.
fn a_local(dice: &mut Dice) -> (IpAddr, Kind) {
    let address = ip(dice.pick(&["127.0.0.1", "127.0.0.1", "127.0.0.9", "0.0.0.0", "::1", "::", "::"]));
    let kind = Kind { v6only: address.is_ipv6() && dice.one_in(2), reuse_address: dice.one_in(3), ..Kind::default() };
    (address, kind)
}

/// Does something to the ports; what the kernel refuses is left undone. Returns what was tried.
fn act(world: &mut World, dice: &mut Dice, range: &Range) -> String {
    let count = 1 + dice.below(15) as usize;
    match dice.below(12) {
        0..=5 => {
            let call = a_call(dice, range);
            let ends = [End::CloseWait, End::CloseWait, End::Established, End::TimeWait, End::TimeWait, End::FinWait2];
            let end = dice.pick(&ends);
            let made = world.leave(count, call, end);
            format!("{made} of {count} {call:?} {end:?}")
        }
        6..=8 => {
            let (address, kind) = a_local(dice);
            let backlog = dice.one_in(2).then_some(16);
            let ports: Vec<_> = (0..count)
                .map(|_| {
                    let port = if dice.one_in(2) { range.any_port(dice) } else { 0 };
                    world.bind(SocketAddr::new(address, port), kind, backlog).ok()
                })
                .collect();
            format!("bind {address} {kind:?} {backlog:?}: {ports:?}")
        }
        9 => {
            let made: Vec<bool> = (0..count.min(4))
                .map(|_| world.orphan_accepted(SocketAddr::new(ip("127.0.0.1"), range.any_port(dice))).is_ok())
                .collect();
            format!("orphaned accepted {made:?}")
        }
        10 => {
            // A port is shared with a bind() for a while.
            let before = world.held();
            let held = take_snapshot();
            for socket in held.sockets.iter().filter(|socket| socket.tuple.local.port >= range.first).take(count) {
                let at = SocketAddr::new(ip("127.0.0.9"), socket.tuple.local.port);
                let _refused = world.bind(at, Kind::default(), None);
            }
            world.release(before);
            "bound over and released".to_owned()
        }
        _ => {
            let made = (0..count).filter(|_| world.bind(any(ip("127.0.0.9")), Kind::default(), None).is_ok()).count();
            format!("{made} bound on 127.0.0.9")
        }
    }
}

fn a_connect(dice: &mut Dice) -> Target {
    let call = destination(dice);
    let v6 = call.to.is_ipv6();
    let local = if !v6 && dice.one_in(4) { Local::Late(ip("127.0.0.3")) } else { Local::Routed };
    let kind = Kind { mapped: !v6 && dice.one_in(4), on_loopback: dice.one_in(4), ..Kind::default() };
    Target::Connect(call.from(local).as_kind(kind))
}

fn a_bind(dice: &mut Dice) -> Target {
    let address = ip(dice.pick(&["127.0.0.1", "127.0.0.3", "127.0.0.9", "0.0.0.0", "0.0.0.0", "::1", "::"]));
    if address == ip("0.0.0.0") && dice.one_in(3) {
        return Target::Listen;
    }
    Target::Bind(address, Kind { reuse_port: dice.one_in(4), ..Kind::default() })
}
