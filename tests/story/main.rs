//! The story: 60,000 sockets leaked in 30 days under daily waves and three deploys, looked at every five minutes, remembered
//! in a real store and judged from what is read back. And as many services that do not leak.
//!
//! `cargo test --test story -- --nocapture` prints the rates, and takes three minutes of two processors.
#![expect(clippy::print_stdout, reason = "the rates are meant to be read")]

mod host;
mod said;
mod same;
#[path = "../trend/world.rs"]
#[expect(dead_code, reason = "the world of the trend tests has more in it")]
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use closewatch::model::past::Track;

use self::host::{DAYS, Host, OF_EACH_KIND, healthy, leaking, place_of};
use self::said::Said;
use self::world::{A_DAY, AN_HOUR, Dice, Service};

/// Months of each kind, each with a seed of its own.
const RUNS: u64 = 1_000;

#[test]
fn of_a_thousand_leaks_and_a_thousand_healthy_services_the_leaks_are_called_and_their_end_is_known() {
    let next = AtomicU64::new(0);
    let work = || {
        let mut said = Said::default();
        loop {
            let first = next.fetch_add(OF_EACH_KIND, Ordering::Relaxed);
            if first >= RUNS {
                return said;
            }
            live_through_a_month(first..RUNS.min(first + OF_EACH_KIND), &mut said);
        }
    };
    let mut said = Said::default();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| said.join(worker.join().expect("judges")));
    });
    said.tell(RUNS as usize);
}

/// One host with a leak and a healthy service of each seed, judged every hour of the first day and once on each later one.
fn live_through_a_month(seeds: Range<u64>, said: &mut Said) {
    let leaks: Vec<(u64, Service)> = seeds.clone().map(|seed| (seed, leaking(seed))).collect();
    let ends: Vec<f64> = leaks.iter().map(|(_, leak)| leak.exhausted_at().expect("more than there is")).collect();
    let sound: Vec<(u64, Service)> = seeds.clone().map(|seed| (seed, healthy(seed))).collect();
    let mut dice = Dice(seeds.start + 90_000_000);
    let dir = tempfile::tempdir().expect("a directory");
    let services = leaks.iter().chain(&sound).map(|(_, service)| service).collect();
    let mut host = Host::new(services, &dir.path().join("history.db"), &mut dice);
    let mut called = vec![false; leaks.len()];
    let hourly = (1..=24).map(|hour| hour * AN_HOUR);
    let daily = (1..DAYS).map(|day| day * A_DAY + 1 + dice.below(A_DAY as u64 - 1) as usize);
    for look in hourly.chain(daily) {
        for forecast in host.judged(look) {
            let place = place_of(&forecast);
            let Some((seed, leak)) = leaks.get(place) else {
                said.of_healthy(sound[place - leaks.len()].0, look, &forecast);
                continue;
            };
            let left = ends[place] - leak.at(look);
            if matches!(forecast.track, Track::Ports(_)) && left > 0.0 {
                called[place] = said.of_leak(*seed, look, (&forecast, left, called[place]));
            }
        }
    }
}
