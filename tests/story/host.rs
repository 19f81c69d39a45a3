//! A host with as many services as are remembered one by one, half of which leak, and the store that remembers it.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use closewatch::census::memory::MOST_NAMED;
use closewatch::history::{Access, History, Moment};
use closewatch::model::past::{
    Memory, NamespaceMemory, OtherMemory, PoolMemory, PoolName, ProcessMemory, Service as Program, StuckMemory, Track,
};
use closewatch::model::process::ProcessKey;
use closewatch::model::state::{StateCounts, TcpState};
use closewatch::model::tuple::Endpoint;
use closewatch::trend::forecast::{self, Forecast};

use super::world::{A_DAY, DAY, Dice, EVERY, PORTS, Service, sums};

/// So many sockets are leaked at the end of the month, and so many there are to be had.
pub(crate) const WHOLE: f64 = 60_000.0;
pub(crate) const DAYS: usize = 30;
/// So many services of each kind one host has: together no more than are remembered one by one.
pub(crate) const OF_EACH_KIND: u64 = MOST_NAMED as u64 / 2;

const BOOT: &str = "6f9d3a52-6c1d-4f0e-9a1c-2f7a3c1e5b77";
/// What a service may open.
const DESCRIPTORS: u64 = 65_536;
/// Descriptors that are no sockets.
const FILES: u64 = 20;

/// A service that leaks 60,000 sockets in 30 days under daily and weekly waves, noise, and three deploys of its neighbours.
pub(crate) fn leaking(seed: u64) -> Service {
    let mut dice = Dice(seed + 10_000_000);
    // A day more than the story: its end may fall into a night.
    let leaked = sums(&mut dice, DAYS + 1, |_| WHOLE / (DAYS * A_DAY) as f64);
    Service::new(&mut dice, WHOLE, &leaked, &[])
}

/// A service with the same waves that leaks nothing.
pub(crate) fn healthy(seed: u64) -> Service {
    Service::new(&mut Dice(seed), PORTS, &[0.0; (DAYS + 1) * A_DAY], &[])
}

/// The pool that the service in this place draws from.
pub(crate) fn pool(place: usize) -> PoolName {
    let destination = Endpoint::new([10, 0, 3, place as u8].into(), 8086);
    PoolName { netns: "init".to_owned(), source: [10, 0, 0, 5].into(), destination }
}

/// The program that the service in this place is.
pub(crate) fn program(place: usize) -> Program {
    Program {
        name: format!("service-{place}"),
        exe: Some(format!("/usr/bin/service-{place}")),
        unit: Some(format!("service-{place}.service")),
        container: None,
        netns: "init".to_owned(),
    }
}

/// The host over time, and its history.
pub(crate) struct Host<'a> {
    services: Vec<&'a Service>,
    history: History,
    /// How many looks are remembered.
    remembered: usize,
    /// When the first look was, in seconds since 1970.
    begun: f64,
    /// The sockets that are known to be stuck at a look.
    stuck: fn(usize) -> Vec<StuckMemory>,
}

impl<'a> Host<'a> {
    /// A host whose first look is at this time of some week.
    pub(crate) fn new(services: Vec<&'a Service>, path: &Path, dice: &mut Dice) -> Self {
        let history = History::open(path, Access::ReadWrite).unwrap_or_else(|error| panic!("{error}"));
        let begun = 1.7e9 + dice.between(0.0, 7.0 * DAY).floor();
        Self { services, history, remembered: 0, begun, stuck: |_| Vec::new() }
    }

    /// The same, with the sockets that are known to be stuck at each look.
    pub(crate) fn with_stuck(self, stuck: fn(usize) -> Vec<StuckMemory>) -> Self {
        Self { stuck, ..self }
    }

    /// What a check says at this look, before it adds it: all earlier ones are remembered.
    pub(crate) fn judged(&mut self, look: usize) -> Vec<Forecast> {
        let earlier: Vec<Memory> = (self.remembered..look).map(|look| self.memory(look)).collect();
        self.history.remember_all(&earlier).unwrap_or_else(|error| panic!("{error}"));
        self.remembered = look;
        let now = self.memory(look);
        let moment = Moment { at: now.taken_at, boot_id: now.boot_id.as_deref(), uptime: now.uptime };
        let past = self.history.past(&moment).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.history.notes(), [""; 0], "nothing happened to the store");
        forecast::of(&now, &past)
    }

    /// What the look leaves behind: each service holds all ports that are used of its own pool.
    fn memory(&self, look: usize) -> Memory {
        let mut states = StateCounts::default();
        let (mut processes, mut pools) = (Vec::new(), Vec::new());
        for (place, service) in self.services.iter().enumerate() {
            let point = &service.looks()[look];
            let (used, leaked) = (point.used as u64, point.leaked as u64);
            states[TcpState::CloseWait] += leaked;
            states[TcpState::Established] += used - leaked;
            let usable = point.limit.expect("a limit") as u64;
            processes.push(ProcessMemory {
                service: program(place),
                key: ProcessKey { pid: 1_000 + place as u32, start_ticks: 5_000 },
                sockets: used,
                close_wait: leaked,
                stuck: leaked,
                ghosts: Some(0),
                fds_open: Some(used + FILES),
                fds_limit: Some(DESCRIPTORS),
            });
            pools.push(PoolMemory { name: pool(place), usable, used, stuck: leaked, holder: Some((place, used)) });
        }
        let since_start = look as f64 * EVERY;
        Memory {
            taken_at: UNIX_EPOCH + Duration::from_secs_f64(self.begun + since_start),
            boot_id: Some(BOOT.to_owned()),
            uptime: Some(Duration::from_secs_f64(DAY + since_start)),
            verdict: "ok".to_owned(),
            attributed: true,
            namespaces: vec![NamespaceMemory { name: "init".to_owned(), states }],
            processes,
            other_processes: OtherMemory::default(),
            pools,
            other_pools: OtherMemory::default(),
            limits: Vec::new(),
            stuck: (self.stuck)(look),
            n_stuck: states[TcpState::CloseWait],
        }
    }
}

/// Which place the forecast is of.
pub(crate) fn place_of(forecast: &Forecast) -> usize {
    match &forecast.track {
        Track::Ports(PoolName { destination, .. }) => match destination.address {
            IpAddr::V4(address) => usize::from(address.octets()[3]),
            IpAddr::V6(_) => panic!("{destination:?} is no pool of this host"),
        },
        Track::Descriptors(program) => {
            let place = program.name.strip_prefix("service-").and_then(|place| place.parse().ok());
            place.unwrap_or_else(|| panic!("{program:?} is no program of this host"))
        }
        Track::Limit(..) => panic!("no limit is remembered"),
    }
}
