//! The present look put behind what is remembered, number by number, and what is to be expected of each.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::{Growth, Kind, Trend, Wall};
use crate::model::past::{Memory, Past, Point, PoolMemory, ProcessMemory, Series, Service, Track};
use crate::model::points::Points;
use crate::model::process::ProcessKey;

/// What is to be expected of one number.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Which number.
    pub track: Track,
    /// Whose it is now: the process, or of a pool the process that holds most of it.
    pub holder: Option<ProcessKey>,
    /// What it is now.
    pub now: Point,
    /// How many earlier looks it was seen in.
    pub n_looks: usize,
    /// What is to be expected.
    pub trend: Trend,
    /// Of the stuck sockets that the holder has, those that were stuck before.
    pub stayed: Stayed,
}

/// Stuck sockets that were known before: the very same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stayed {
    /// At the last look.
    pub since_last: u64,
    /// A day ago and ever since.
    pub for_a_day: u64,
}

impl Forecast {
    /// In how many seconds the limit is met, when that is known: 0 when it is met already.
    #[must_use]
    pub fn eta_s(&self) -> Option<f64> {
        match self.trend.wall {
            Wall::Reached => Some(0.0),
            Wall::In { expected_s, .. } => Some(expected_s),
            Wall::Unknown(_) | Wall::NoLimit | Wall::NotApproached => None,
        }
    }

    /// The order in which forecasts are told: the nearest wall first, then what grows, then the fullest.
    #[must_use]
    pub fn by_urgency(&self, other: &Self) -> Ordering {
        rank(self).partial_cmp(&rank(other)).unwrap_or(Ordering::Equal)
    }

    /// Whether what grows is surely leaked.
    #[must_use]
    pub fn is_leak(&self) -> bool {
        matches!(self.trend.growth, Growth::Growing(rate) if rate.kind == Kind::Leak)
    }
}

/// What is to be expected of every number of this look; the nearest wall first, then what grows.
#[must_use]
pub fn of(memory: &Memory, past: &Past) -> Vec<Forecast> {
    let known: HashMap<&Track, &Series> = past.series.iter().map(|series| (&series.track, series)).collect();
    let at = unix_seconds(memory.taken_at);
    let stayed = stayed(memory, past);
    let none = Points::default();
    let mut forecasts: Vec<Forecast> = present(memory, &known, at)
        .into_iter()
        .map(|Present { track, holder, point, held }| {
            let earlier = known.get(&track).copied();
            let points = earlier.map_or(&none, |series| &series.points);
            let before = earlier.and_then(|series| series.holder);
            let run = points.last().map_or(0, |last| match before {
                // Nobody was ever known to hold it.
                None if last.run == 0 => 0,
                _ if goes_on(memory, before, (holder, held)) => last.run,
                _ => last.run.wrapping_add(1),
            });
            let now = Point { run, ..point };
            let trend = super::judge(points.iter().chain([now]), at);
            let stayed = holder.and_then(|holder| stayed.get(&holder).copied()).unwrap_or_default();
            Forecast { track, holder, now, n_looks: points.len(), trend, stayed }
        })
        .collect();
    forecasts.sort_by(Forecast::by_urgency);
    forecasts
}

/// What is to be expected of a number whose last look is remembered already, asked at this moment in seconds since 1970;
/// `None` without a look. Which sockets stayed is not known of it.
#[must_use]
pub fn of_remembered(series: &Series, at: f64) -> Option<Forecast> {
    let now = series.points.last()?;
    Some(Forecast {
        track: series.track.clone(),
        holder: series.holder,
        now,
        n_looks: series.points.len() - 1,
        trend: super::of(series, at),
        stayed: Stayed::default(),
    })
}

/// The stuck sockets of each process that were known before.
fn stayed(memory: &Memory, past: &Past) -> HashMap<ProcessKey, Stayed> {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut stayed: HashMap<ProcessKey, Stayed> = HashMap::new();
    for stuck in &memory.stuck {
        let holder = stuck.process.and_then(|place| memory.processes.get(place));
        if let (Some(holder), Some(since)) = (holder, past.stuck_since.get(stuck.cookie)) {
            let counts = stayed.entry(holder.key).or_default();
            counts.since_last += 1;
            let span = memory.taken_at.duration_since(since).unwrap_or_default();
            counts.for_a_day += u64::from(span >= DAY);
        }
    }
    stayed
}

fn rank(forecast: &Forecast) -> (f64, bool, f64) {
    let grows = matches!(forecast.trend.growth, Growth::Growing(_));
    let share = forecast.now.limit.map_or(0.0, |limit| forecast.now.used / limit.max(1.0));
    (forecast.eta_s().unwrap_or(f64::INFINITY), !grows, -share)
}

/// One number of the present look; the run of its point is not known yet.
struct Present {
    track: Track,
    holder: Option<ProcessKey>,
    point: Point,
    /// The share of it that the holder has.
    held: f64,
}

fn present(memory: &Memory, known: &HashMap<&Track, &Series>, at: f64) -> Vec<Present> {
    let mut all = Vec::new();
    for (service, processes) in by_service(memory) {
        let track = Track::Descriptors(service.clone());
        let followed = known.get(&track).and_then(|series| series.holder);
        all.extend(followed_of(&processes, followed).and_then(|process| descriptors(process, track, at)));
    }
    all.extend(memory.pools.iter().map(|pool| ports(memory, pool, at)));
    all.extend(memory.limits.iter().map(|limit| Present {
        track: Track::Limit(limit.kind, limit.netns.clone()),
        holder: None,
        point: point(at, (limit.used, 0), Some(limit.limit)),
        held: 1.0,
    }));
    all
}

fn by_service(memory: &Memory) -> Vec<(&Service, Vec<&ProcessMemory>)> {
    let mut groups: Vec<(&Service, Vec<&ProcessMemory>)> = Vec::new();
    let mut places: HashMap<&Service, usize> = HashMap::new();
    for process in &memory.processes {
        let place = *places.entry(&process.service).or_insert_with(|| {
            groups.push((&process.service, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(process);
    }
    groups
}

/// Of several processes of one service the one that was followed before, unless another one has leaked more.
fn followed_of<'a>(processes: &[&'a ProcessMemory], followed: Option<ProcessKey>) -> Option<&'a ProcessMemory> {
    processes.iter().copied().max_by_key(|process| (leaked_of(process), followed == Some(process.key)))
}

fn leaked_of(process: &ProcessMemory) -> u64 {
    process.stuck + process.ghosts.unwrap_or(0)
}

/// `None` when its descriptors could not be counted.
fn descriptors(process: &ProcessMemory, track: Track, at: f64) -> Option<Present> {
    let used = process.fds_open?;
    let point = point(at, (used, leaked_of(process)), process.fds_limit);
    Some(Present { track, holder: Some(process.key), point, held: 1.0 })
}

fn ports(memory: &Memory, pool: &PoolMemory, at: f64) -> Present {
    let holder = pool.holder.and_then(|(holder, _)| memory.processes.get(holder)).map(|process| process.key);
    Present {
        track: Track::Ports(pool.name.clone()),
        holder,
        point: point(at, (pool.used, pool.stuck), Some(pool.usable)),
        held: pool.holder.map_or(0.0, |(_, held)| held as f64 / pool.used.max(1) as f64),
    }
}

fn point(at: f64, (used, leaked): (u64, u64), limit: Option<u64>) -> Point {
    Point { at, used: used as f64, leaked: leaked as f64, limit: limit.map(|limit| limit as f64), run: 0 }
}

/// Whether the present is of one line with the last point. The line of a pool ends when the process that held most of it is
/// gone, or when another holds two thirds; that of a program with its process.
fn goes_on(memory: &Memory, before: Option<ProcessKey>, (now, held): (Option<ProcessKey>, f64)) -> bool {
    let is_gone = |before| !memory.processes.iter().any(|process| process.key == before);
    match (before, now) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(before), Some(now)) => before == now || (held < 2.0 / 3.0 && !is_gone(before)),
    }
}

/// Seconds since 1970, as points have them.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::past::{LimitKind, LimitMemory, OtherMemory, PoolName};
    use crate::model::tuple::Endpoint;
    use crate::trend::Why;

    fn service() -> Service {
        Service { name: "telegraf".into(), exe: None, unit: None, container: None, netns: "init".into() }
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { pid, start_ticks: 7 }
    }

    fn process(pid: u32, stuck: u64) -> ProcessMemory {
        ProcessMemory {
            service: service(),
            key: key(pid),
            sockets: stuck,
            close_wait: stuck,
            stuck,
            ghosts: None,
            fds_open: Some(stuck + 10),
            fds_limit: Some(1_024),
        }
    }

    fn pool_name() -> PoolName {
        let address = "10.0.0.5".parse().expect("an address");
        let destination = Endpoint::new("10.0.3.7".parse().expect("an address"), 8086);
        PoolName { netns: "init".into(), source: address, destination }
    }

    fn memory(minute: u64, processes: Vec<ProcessMemory>) -> Memory {
        let stuck = processes.iter().map(|process| process.stuck).max().unwrap_or(0);
        Memory {
            taken_at: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(minute * 60),
            boot_id: None,
            uptime: None,
            verdict: "ok".into(),
            attributed: true,
            namespaces: Vec::new(),
            pools: vec![PoolMemory { name: pool_name(), usable: 28_232, used: stuck, stuck, holder: Some((0, stuck)) }],
            processes,
            other_processes: OtherMemory::default(),
            other_pools: OtherMemory::default(),
            limits: vec![LimitMemory { kind: LimitKind::FileMax, netns: None, used: 5, limit: 100 }],
            stuck: Vec::new(),
            n_stuck: stuck,
        }
    }

    /// What a leak of ten sockets a minute of one process leaves behind in so many minutes.
    fn leak(pid: u32, minutes: u64) -> Past {
        let points = |limit: f64| {
            let at = |minute: u64| Point {
                at: (minute * 60) as f64,
                used: (minute * 10 + 10) as f64,
                leaked: (minute * 10) as f64,
                limit: Some(limit),
                run: 3,
            };
            (0..minutes).map(at).collect()
        };
        let series = |track, limit| Series { track, points: points(limit), holder: Some(key(pid)) };
        Past {
            looks: vec![SystemTime::UNIX_EPOCH; minutes as usize],
            series: vec![series(Track::Descriptors(service()), 1_024.0), series(Track::Ports(pool_name()), 28_232.0)],
            ..Past::default()
        }
    }

    #[test]
    fn the_present_goes_on_with_the_line_of_its_process_and_the_nearest_wall_is_told_first() {
        let forecasts = of(&memory(60, vec![process(1, 600)]), &leak(1, 60));
        let [descriptors, ports, files] = forecasts.as_slice() else { panic!("{forecasts:#?}") };
        assert_eq!((&descriptors.track, descriptors.n_looks), (&Track::Descriptors(service()), 60));
        let left = (1_024.0 - 610.0) / 10.0 * 60.0;
        let eta = descriptors.eta_s().expect("it grows");
        assert!((eta - left).abs() < 0.1 * left, "{eta} s, {left} s");
        assert!(descriptors.is_leak() && ports.is_leak());
        assert!(ports.eta_s().is_some_and(|ports| ports > eta));
        assert_eq!(files.trend.growth, Growth::Unknown(Why::FewLooks));
    }

    #[test]
    fn another_process_begins_another_line() {
        let forecasts = of(&memory(60, vec![process(2, 600)]), &leak(1, 60));
        let told = |forecast: &Forecast| (forecast.trend.growth, forecast.now.run, forecast.eta_s());
        assert_eq!(told(&forecasts[0]), (Growth::Unknown(Why::FewLooks), 4, None));
    }

    #[test]
    fn of_several_processes_of_a_service_the_one_that_leaks_is_followed() {
        let holder = |processes| {
            let forecasts = of(&memory(60, processes), &leak(2, 60));
            let is_it = |forecast: &&Forecast| matches!(forecast.track, Track::Descriptors(_));
            forecasts.iter().find(is_it).and_then(|forecast| forecast.holder)
        };
        assert_eq!(holder(vec![process(1, 3), process(2, 600)]), Some(key(2)));
        assert_eq!(holder(vec![process(1, 0), process(2, 0)]), Some(key(2)));
    }

    #[test]
    fn descriptors_that_could_not_be_counted_have_no_forecast() {
        let hidden = ProcessMemory { fds_open: None, ..process(1, 600) };
        let forecasts = of(&memory(60, vec![hidden]), &leak(1, 60));
        assert!(forecasts.iter().all(|forecast| !matches!(forecast.track, Track::Descriptors(_))));
    }
}
