//! The story: 60,000 sockets leaked in 30 days under daily waves and three deploys, looked at every five minutes, remembered
//! in a real store and judged from what is read back. And as many services that do not leak.
//!
//! `tests/trend` judges a thousand such months of each kind without a store. `cargo test --test story -- --nocapture` prints
//! the rates of those here.
#![expect(clippy::print_stdout, reason = "the rates are meant to be read")]

#[path = "trend/world.rs"]
#[expect(dead_code, reason = "the world of the trend tests has more in it")]
mod world;

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use closewatch::history::{Access, History, Moment};
use closewatch::model::past::{
    Memory, NamespaceMemory, OtherMemory, Point, PoolMemory, PoolName, ProcessMemory, Service as Program, StuckMemory,
    Track,
};
use closewatch::model::process::ProcessKey;
use closewatch::model::socket::SockCookie;
use closewatch::model::state::{StateCounts, TcpState};
use closewatch::model::tuple::Endpoint;
use closewatch::trend::forecast::{self, Forecast};
use closewatch::trend::{Growth, Wall};

use self::world::{A_DAY, AN_HOUR, DAY, Dice, HOUR, PORTS, Service, sums};

/// Months of each kind: as many as take half a minute of an unoptimised build.
const RUNS: u64 = 24;
const WHOLE: f64 = 60_000.0;
const DAYS: usize = 30;
/// Of so many stuck sockets every look of the first month knows which they are.
const KNOWN: u64 = 300;

const BOOT: &str = "6f9d3a52-6c1d-4f0e-9a1c-2f7a3c1e5b77";

fn pool() -> PoolName {
    let destination = Endpoint::new([10, 0, 3, 7].into(), 8086);
    PoolName { netns: "init".to_owned(), source: [10, 0, 0, 5].into(), destination }
}

/// What a look leaves behind: a program that holds all that is used, and the pool that it draws from.
fn memory(point: &Point, first: &Point) -> Memory {
    let (used, leaked) = (point.used as u64, point.leaked as u64);
    let mut states = StateCounts::default();
    states[TcpState::CloseWait] = leaked;
    states[TcpState::Established] = used - leaked;
    let program = Program {
        name: "telegraf".to_owned(),
        exe: Some("/usr/bin/telegraf".to_owned()),
        unit: Some("telegraf.service".to_owned()),
        container: None,
        netns: "init".to_owned(),
    };
    let process = ProcessMemory {
        service: program,
        key: ProcessKey { pid: 1_234, start_ticks: 5_000 },
        sockets: used,
        close_wait: leaked,
        stuck: leaked,
        ghosts: Some(0),
        fds_open: Some(used + 20),
        fds_limit: Some(1 << 20),
    };
    let usable = point.limit.expect("a limit") as u64;
    Memory {
        taken_at: UNIX_EPOCH + Duration::from_secs_f64(point.at),
        boot_id: Some(BOOT.to_owned()),
        uptime: Some(Duration::from_secs_f64(DAY + point.at - first.at)),
        verdict: "ok".to_owned(),
        attributed: true,
        namespaces: vec![NamespaceMemory { name: "init".to_owned(), states }],
        processes: vec![process],
        other_processes: OtherMemory::default(),
        pools: vec![PoolMemory { name: pool(), usable, used, stuck: leaked, holder: Some((0, used)) }],
        other_pools: OtherMemory::default(),
        limits: Vec::new(),
        stuck: Vec::new(),
        n_stuck: leaked,
    }
}

/// A host over time, and the store that remembers it.
struct Month {
    history: History,
    looks: Vec<Memory>,
    remembered: usize,
}

impl Month {
    fn new(service: &Service, path: &Path) -> Self {
        let history = History::open(path, Access::ReadWrite).unwrap_or_else(|error| panic!("{error}"));
        let points = service.looks();
        Self { history, looks: points.iter().map(|point| memory(point, &points[0])).collect(), remembered: 0 }
    }

    /// What a check says at this look, before it adds it: all earlier ones are remembered.
    fn judged(&mut self, look: usize) -> Vec<Forecast> {
        let earlier = &self.looks[self.remembered..look];
        self.history.remember_all(earlier).unwrap_or_else(|error| panic!("{error}"));
        self.remembered = look;
        let now = &self.looks[look];
        let moment = Moment { at: now.taken_at, boot_id: now.boot_id.as_deref(), uptime: now.uptime };
        let past = self.history.past(&moment).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.history.notes(), [""; 0], "nothing happened to the store");
        forecast::of(now, &past)
    }

    fn ports(&mut self, look: usize) -> Forecast {
        let judged = self.judged(look);
        judged.into_iter().find(|forecast| forecast.track == Track::Ports(pool())).expect("the pool is followed")
    }
}

fn grows(forecast: &Forecast) -> bool {
    matches!(forecast.trend.growth, Growth::Growing(_))
}

/// A number in so many parts of a whole.
fn share(part: usize, whole: usize) -> String {
    format!("{part} of {whole} ({:.1} %)", 100.0 * part as f64 / whole.max(1) as f64)
}

#[test]
fn a_leak_is_called_on_its_first_day_and_its_end_is_known_from_the_third_on() {
    let (mut called, mut asked, mut right, mut within) = (Vec::new(), 0, 0, 0);
    let mut worst: f64 = 0.0;
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 10_000_000);
        let leaked = sums(&mut dice, DAYS + 1, |_| WHOLE / (DAYS * A_DAY) as f64);
        let service = Service::new(&mut dice, WHOLE, &leaked, &[]);
        let dir = tempfile::tempdir().expect("a directory");
        let mut month = Month::new(&service, &dir.path().join("history.db"));
        let first = (1..=24).find(|hour| grows(&month.ports(hour * AN_HOUR)));
        called.push(first.unwrap_or_else(|| panic!("seed {seed}: not called in 24 hours")));
        let end = service.exhausted_at().expect("more than there is");
        let mut day = 3.0;
        while day < DAYS as f64 - 2.0 {
            let look = (day * A_DAY as f64) as usize;
            let forecast = month.ports(look);
            let Wall::In { expected_s, earliest_s, latest_s } = forecast.trend.wall else {
                panic!("seed {seed}, day {day}: {:?}", forecast.trend)
            };
            let left = end - service.at(look);
            let error = (expected_s - left).abs();
            asked += 1;
            // In the last days a wave decides on more than a tenth of what is left.
            right += usize::from(error <= (0.1 * left).max(6.0 * HOUR));
            within += usize::from(earliest_s <= left && latest_s.is_none_or(|latest| left <= latest));
            worst = worst.max(error / left);
            day += dice.between(1.5, 3.0);
        }
    }
    called.sort_unstable();
    println!("leak of 60,000 in 30 days, through the store: called in {RUNS} of {RUNS} within 24 h;");
    println!("  hours until then: median {}, at most {}", called[called.len() / 2], called[called.len() - 1]);
    println!("  end foretold to a tenth, from day 3 on: {}; worst {:.1} %", share(right, asked), 100.0 * worst);
    println!("  end within the interval: {}", share(within, asked));
    assert_eq!(right, asked);
    assert!(within * 10 >= asked * 8, "{}", share(within, asked));
}

#[test]
fn a_healthy_service_with_the_same_waves_is_never_called() {
    let (mut judged, mut flat, mut alarms) = (0, 0, Vec::new());
    for seed in 0..RUNS {
        let mut dice = Dice(seed);
        let service = Service::new(&mut dice, PORTS, &vec![0.0; DAYS * A_DAY], &[]);
        let dir = tempfile::tempdir().expect("a directory");
        let mut month = Month::new(&service, &dir.path().join("history.db"));
        let mut day = 0.1;
        while day < DAYS as f64 {
            for forecast in month.judged((day * A_DAY as f64) as usize) {
                judged += 1;
                flat += usize::from(forecast.trend.growth == Growth::Flat);
                if grows(&forecast) || forecast.eta_s().is_some() {
                    alarms.push(format!("seed {seed}, day {day:.2}: {:?}", forecast.trend));
                }
            }
            day += dice.between(0.5, 2.0);
        }
    }
    println!(
        "healthy, through the store: {} false alarms; known to stand still: {}",
        alarms.len(),
        share(flat, judged)
    );
    assert!(alarms.is_empty(), "{}", alarms.join("\n"));
    assert!(flat * 10 > judged * 7, "most of the time it is known: {}", share(flat, judged));
}

#[test]
fn the_sockets_that_are_stuck_are_known_to_be_the_same_ones() {
    let leaked: Vec<f64> = (0..3 * A_DAY).map(|look| look as f64).collect();
    let service = Service::new(&mut Dice(7), PORTS, &leaked, &[]);
    let dir = tempfile::tempdir().expect("a directory");
    let mut month = Month::new(&service, &dir.path().join("history.db"));
    for (look, memory) in month.looks.iter_mut().enumerate() {
        // One more at each look, which has stood for a minute when it is seen first.
        let stuck = (0..KNOWN.min(look as u64)).map(|nth| StuckMemory {
            cookie: SockCookie(1 + nth * 7),
            age_at_least: Duration::from_secs(60 + 300 * (look as u64 - 1 - nth)),
            process: Some(0),
        });
        memory.stuck = stuck.collect();
    }
    let last = month.looks.len() - 1;
    let forecasts = month.judged(last);
    let telegraf = forecasts.iter().find(|forecast| matches!(forecast.track, Track::Descriptors(_))).expect("followed");
    assert_eq!((telegraf.stayed.since_last, telegraf.stayed.for_a_day), (KNOWN, KNOWN));
    let early = A_DAY + A_DAY / 2;
    let mut month = Month { history: fresh(&dir.path().join("early.db")), remembered: 0, ..month };
    let forecasts = month.judged(early);
    let telegraf = forecasts.iter().find(|forecast| matches!(forecast.track, Track::Descriptors(_))).expect("followed");
    // A day before there had been half a day of looks, and each had found one.
    assert_eq!((telegraf.stayed.since_last, telegraf.stayed.for_a_day), (KNOWN, A_DAY as u64 / 2));
}

fn fresh(path: &Path) -> History {
    History::open(path, Access::ReadWrite).unwrap_or_else(|error| panic!("{error}"))
}
