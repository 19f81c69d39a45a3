//! Months of looks, a thousand times each.
mod world;

use closewatch::trend::{self, Growth, Wall};
use world::*;

const RUNS: u64 = 1000;

#[test]
fn explore() {
    let t = std::time::Instant::now();
    let mut called = 0;
    let mut unknown = 0;
    let mut flat = 0;
    let mut whys = std::collections::BTreeMap::new();
    for seed in 0..RUNS {
        let mut dice = Dice(seed);
        let s = Service::new(&mut dice, 30, PORTS, &|_| 0.0, &[]);
        for k in 0..20 {
            let look = if k == 0 { s.n_looks() - 1 } else { dice.below(s.n_looks() as u64) as usize };
            let trend = trend::of(&s.kept(look), s.at(look));
            match trend.growth {
                Growth::Growing(r) => {
                    called += 1;
                    println!("seed {seed} look {look} day {} {r:?}", look as f64 / 288.0);
                }
                Growth::Flat => flat += 1,
                Growth::Unknown(w) => {
                    unknown += 1;
                    *whys.entry(w.token()).or_insert(0) += 1;
                }
            }
        }
    }
    println!("healthy: called {called} flat {flat} unknown {unknown} {whys:?} {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let mut hours = vec![];
    let mut errors: Vec<Vec<f64>> = vec![vec![]; 32];
    let mut inside = (0, 0);
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 10_000);
        let s = Service::new(&mut dice, 31, 60_000.0, &|l| (l as f64 * 60_000.0 / (30.0 * 288.0)).floor(), &[]);
        let first = (1..48).find(|h| matches!(trend::of(&s.kept(h * 12), s.at(h * 12)).growth, Growth::Growing(_)));
        hours.push(first.unwrap_or(99));
        let truth = s.at(s.exhausted().expect("full"));
        for _ in 0..8 {
            let day = 3 + dice.below(27) as usize;
            let look = day * 288 + dice.below(288) as usize;
            if look >= s.n_looks() || s.at(look) >= truth {
                continue;
            }
            let left = truth - s.at(look);
            let trend = trend::of(&s.kept(look), s.at(look));
            match trend.wall {
                Wall::In { expected_s, earliest_s, latest_s } => {
                    let e = (expected_s - left).abs() / left;
                    errors[day].push(e);
                    inside.1 += 1;
                    if earliest_s <= left && latest_s.is_none_or(|l| left <= l) {
                        inside.0 += 1;
                    }
                    if e > 0.1 {
                        println!(
                            "seed {seed} day {:.2} left {:.2} h expected {:.2} h",
                            look as f64 / 288.0,
                            left / 3600.0,
                            expected_s / 3600.0
                        );
                    }
                }
                other => println!("seed {seed} look {look} {other:?} {:?}", trend.growth),
            }
        }
    }
    hours.sort();
    println!("hours {:?} median {} max {}", hours[0], hours[500], hours[999]);
    for (d, e) in errors.iter_mut().enumerate() {
        e.sort_by(f64::total_cmp);
        if !e.is_empty() {
            println!(
                "day {d}: n {} p50 {:.4} p95 {:.4} max {:.4}",
                e.len(),
                e[e.len() / 2],
                e[e.len() * 95 / 100],
                e[e.len() - 1]
            );
        }
    }
    println!("inside {inside:?} {:?}", t.elapsed());
}
