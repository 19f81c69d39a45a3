//! The sockets themselves.

use std::time::Duration;

use closewatch::model::past::{StuckMemory, Track};
use closewatch::model::socket::SockCookie;
use closewatch::trend::forecast::Stayed;

use super::host::Host;
use super::world::{A_DAY, Dice, PORTS, Service};

/// Of so many stuck sockets every look knows which they are.
const KNOWN: u64 = 300;

/// One more at each look, which has stood for a minute when it is seen first.
fn stuck(look: usize) -> Vec<StuckMemory> {
    let look = look as u64;
    let stuck = (0..KNOWN.min(look)).map(|nth| StuckMemory {
        cookie: SockCookie::new(1 + nth * 7).expect("not 0"),
        age_at_least: Duration::from_secs(60 + 300 * (look - 1 - nth)),
        process: Some(0),
    });
    stuck.collect()
}

/// What is said at this look, all earlier ones of which are in the store.
fn stayed_at(look: usize) -> Stayed {
    let leaked: Vec<f64> = (0..3 * A_DAY).map(|look| look as f64).collect();
    let service = Service::new(&mut Dice(7), PORTS, &leaked, &[]);
    let dir = tempfile::tempdir().expect("a directory");
    let mut host = Host::new(vec![&service], &dir.path().join("history.db"), &mut Dice(8)).with_stuck(stuck);
    let forecasts = host.judged(look);
    let program = forecasts.iter().find(|forecast| matches!(forecast.track, Track::Descriptors(_)));
    program.expect("it is followed").stayed
}

#[test]
fn the_sockets_that_are_stuck_are_known_to_be_the_same_ones() {
    assert_eq!(stayed_at(3 * A_DAY - 1), Stayed { since_last: KNOWN, for_a_day: KNOWN });
    // A day before there had been half a day of looks, and each had found one.
    let early = A_DAY + A_DAY / 2;
    assert_eq!(stayed_at(early), Stayed { since_last: KNOWN, for_a_day: A_DAY as u64 / 2 });
}
