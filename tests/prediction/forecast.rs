//! What is predicted for a target, and what the kernel then really gives.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use closewatch::capture::Deadline;
use closewatch::capture::netlink::{Asked, read_tables};
use closewatch::capture::port_probe;
use closewatch::capture::sysctl::read_port_settings;
use closewatch::census::pools::{Doubt, DoubtReason, bind_pool_for, doubtful_ports, pool_for};
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::{
    Gap, Host, HostLimits, Namespace, NetNs, PortAnswers, ProcessScan, Snapshot, SourceKind, TcpCounters,
};
use closewatch::model::socket::{NetNsIndex, SocketRecord, Timer};
use closewatch::model::tuple::Endpoint;
use rustix::io::Errno;
use rustix::net::{SocketFlags, bind, listen};

use crate::world::{Call, Kind, LOOPBACK, Local, V6_LOOPBACK, World, dial, open, vanishing};

const HERE: NetNsIndex = NetNsIndex(0);

/// What is called until it fails.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    Connect(Call),
    /// `bind()` to port 0.
    Bind(IpAddr, Kind),
    /// `listen()` without `bind()`.
    Listen,
}

/// Whether the kernel is asked before it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Bounds,
    Exact,
}

/// A prediction and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// What it was predicted from.
    pub seen: Vec<SocketRecord>,
    pub at_least: u32,
    pub at_most: u32,
    pub doubts: Vec<Doubt>,
    /// The same after asking.
    pub asked: Option<(u32, u32, Vec<Doubt>)>,
    /// What was not answered: before Linux 6.18 what `bind()` gets, before 6.3 anything.
    pub gaps: Vec<Gap>,
    pub observed: u32,
}

/// A look at the namespace of the calling thread.
pub fn take_snapshot() -> Snapshot {
    let mut gaps = Vec::new();
    let ports = read_port_settings(&mut gaps);
    let asked = Asked {
        netns: HERE,
        selection: &Selection::default(),
        ephemeral: ports.range,
        expected: 0,
        beside_descriptors: false,
        deadline: Deadline::never(),
    };
    let table = read_tables(&asked).expect("sock_diag answers");
    gaps.extend(table.gaps);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Snapshot {
        taken_at: SystemTime::now(),
        host: Host { kernel: Some(release), ..Host::default() },
        source: SourceKind::Netlink,
        namespaces: vec![Namespace {
            id: NetNs { inode: None, name: "current".to_owned(), ..NetNs::default() },
            ports,
            sockstat: None,
            counters: TcpCounters::default(),
            conntrack: None,
            answers: PortAnswers::default(),
            took: Duration::ZERO,
            source: SourceKind::Netlink,
        }],
        sockets: table.sockets,
        processes: Vec::new(),
        holdings: Vec::new(),
        scan: ProcessScan::Skipped,
        limits: HostLimits::default(),
        gaps,
        file: None,
        ghosts: None,
        cgroups: Vec::new(),
    }
}

/// How long ago a TIME-WAIT began.
pub fn age_ms(socket: &SocketRecord) -> u32 {
    match socket.timer {
        Timer::TimeWait(left_ms) => 60_000_u32.saturating_sub(left_ms),
        timer => panic!("a TIME-WAIT with timer {timer:?}"),
    }
}

/// Predicts, asks if wanted, tries, and gives everything back.
pub fn forecast(world: &mut World, target: &Target, mode: Mode) -> Forecast {
    if let Target::Connect(call) = target {
        world.server(call.to);
    }
    let mut snapshot = take_snapshot();
    let (at_least, at_most, doubts) = predict(&snapshot, target);
    let mut gaps = Vec::new();
    let asked = (mode == Mode::Exact).then(|| {
        (snapshot.namespaces[0].answers, gaps) = port_probe::ask(&doubtful_ports(&snapshot), Deadline::never());
        predict(&snapshot, target)
    });
    let observed = observe(world, target);
    Forecast { seen: snapshot.sockets, at_least, at_most, doubts, asked, gaps, observed }
}

impl Forecast {
    /// What is wrong with the prediction, if anything.
    pub fn complaint(&self, target: &Target) -> Option<String> {
        let first = (self.at_least..=self.at_most).contains(&self.observed);
        let fine = match &self.asked {
            None => first,
            Some((at_least, at_most, doubts)) => {
                // Asking ends connections in TIME-WAIT: connect() has got their ports before, bind() has not.
                (first || !matches!(target, Target::Connect(_)))
                    && (*at_least..=*at_most).contains(&self.observed)
                    && (!self.gaps.is_empty() || doubts.iter().all(|doubt| doubt.reason == DoubtReason::OddRange))
            }
        };
        (!fine).then(|| format!("{:?}", Self { seen: Vec::new(), ..self.clone() }))
    }
}

fn predict(snapshot: &Snapshot, target: &Target) -> (u32, u32, Vec<Doubt>) {
    let bind_bounds = |address: IpAddr| {
        let pool = bind_pool_for(snapshot, HERE, address).expect("the settings were read");
        let doubted: u32 = pool.doubts.iter().map(|doubt| doubt.ports).sum();
        assert_eq!(pool.remaining - pool.remaining_at_least, doubted, "{pool:?}");
        (pool.remaining_at_least, pool.remaining, pool.doubts)
    };
    match target {
        Target::Connect(call) => {
            let interface = if call.kind.on_loopback { LOOPBACK } else { 0 };
            let destination = Endpoint::new(call.to.ip(), call.to.port());
            let pool = pool_for(snapshot, HERE, source_of(call), destination, interface);
            let pool = pool.expect("the settings were read");
            let doubted: u32 = pool.doubts.iter().map(|doubt| doubt.ports).sum();
            assert_eq!(pool.remaining - pool.remaining_at_least, doubted, "{pool:?}");
            (pool.remaining_at_least, pool.remaining, pool.doubts)
        }
        Target::Bind(address, _) => bind_bounds(*address),
        Target::Listen => bind_bounds(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    }
}

/// The address that the routes of these tests give to a connection.
fn source_of(call: &Call) -> IpAddr {
    match (call.local, call.to.ip()) {
        (Local::Zero(address) | Local::Late(address) | Local::Port(address, _), _) => address,
        (Local::Routed, IpAddr::V6(_)) => V6_LOOPBACK,
        (Local::Routed, IpAddr::V4(to)) if to.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        (Local::Routed, IpAddr::V4(_)) => Ipv4Addr::new(10, 9, 0, 1).into(),
    }
}

fn observe(world: &mut World, target: &Target) -> u32 {
    let before = world.held();
    let exhausted = match target {
        Target::Connect(_) => Errno::ADDRNOTAVAIL,
        Target::Bind(..) | Target::Listen => Errno::ADDRINUSE,
    };
    loop {
        match make(target) {
            Ok(socket) => {
                vanishing(&socket);
                world.hold(socket);
            }
            Err(error) if Errno::from_io_error(&error) == Some(exhausted) => {
                if world.bury(before) == 0 {
                    break;
                }
            }
            Err(error) => panic!("{target:?}: {error}"),
        }
        assert!(world.held() - before <= 1000, "there is no end to it: {target:?}");
    }
    let observed = world.held() - before;
    world.release(before);
    world.drain();
    observed as u32
}

fn make(target: &Target) -> io::Result<OwnedFd> {
    let socket = match target {
        Target::Connect(call) => return dial(call, SocketFlags::NONBLOCK),
        Target::Bind(address, kind) => {
            let socket = open(*address, *kind)?;
            bind(&socket, &SocketAddr::new(*address, 0))?;
            socket
        }
        Target::Listen => {
            let socket = open(Ipv4Addr::UNSPECIFIED.into(), Kind::default())?;
            listen(&socket, 1)?;
            socket
        }
    };
    Ok(socket)
}
