//! Services that do not leak.

use closewatch::trend::{Growth, Wall};

use crate::RUNS;
use crate::world::{A_DAY, AN_HOUR, Dice, PORTS, Service};

const DAYS: usize = 30;
/// At how many moments of its month each service is judged.
const MOMENTS: usize = 16;

/// What was said of services that do not grow.
#[derive(Default)]
struct Said {
    flat: usize,
    unknown: usize,
    called: Vec<String>,
}

impl Said {
    fn note(&mut self, seed: u64, service: &Service, look: usize) {
        let trend = service.trend(look);
        match trend.growth {
            Growth::Flat => self.flat += 1,
            Growth::Unknown(_) => self.unknown += 1,
            Growth::Growing(_) => {
                self.called.push(format!("seed {seed}, day {:.2}: {trend:?}", look as f64 / A_DAY as f64));
            }
        }
        assert!(!matches!(trend.wall, Wall::In { .. }) || matches!(trend.growth, Growth::Growing(_)));
    }

    fn tell(&self, what: &str) {
        let judged = self.flat + self.unknown + self.called.len();
        println!(
            "{what}: judged {judged} times: {} false alarms, {} flat, {} not known yet",
            self.called.len(),
            self.flat,
            self.unknown
        );
        assert!(self.called.is_empty(), "{}", self.called.join("\n"));
    }
}

#[test]
fn a_healthy_service_is_never_called() {
    let mut said = Said::default();
    for seed in 0..RUNS {
        let mut dice = Dice(seed);
        let service = Service::new(&mut dice, PORTS, &[0.0; DAYS * A_DAY], &[]);
        let drawn: Vec<usize> = (1..MOMENTS).map(|_| dice.below((DAYS * A_DAY) as u64) as usize).collect();
        for look in drawn.into_iter().chain([DAYS * A_DAY - 1]) {
            said.note(seed, &service, look);
        }
    }
    said.tell("healthy, 1,000 months");
    assert!(said.flat > said.unknown * 4, "most of the time it is known that they do not grow");
}

#[test]
fn a_healthy_service_is_not_called_in_its_first_days_either() {
    let mut said = Said::default();
    for seed in 0..RUNS {
        let service = Service::new(&mut Dice(seed + 1_000_000), PORTS, &[0.0; 3 * A_DAY + 1], &[]);
        for hour in 1..=72 {
            said.note(seed, &service, hour * AN_HOUR);
        }
    }
    said.tell("healthy, every hour of the first three days");
}
