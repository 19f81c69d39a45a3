//! Something grows towards its limit, as earlier looks show it: the time that is left.
//!
//! A process that leaks grows in its descriptors and in the ports of each destination alike. That is one story, told by the
//! limit that is met first; the others are told where they stand.

use std::collections::HashSet;

use crate::census::memory::pool_name;
use crate::census::pools::PortPool;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, route};
use crate::model::past::{LimitKind, Track};
use crate::model::text::printable;
use crate::model::wording::{count, percent};
use crate::trend::forecast::{Forecast, Stayed};
use crate::trend::words::ahead;
use crate::trend::{Growth, Kind, Rate, Wall};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let mut told = HashSet::new();
    let mut findings = Vec::new();
    for forecast in scene.forecasts {
        let Growth::Growing(rate) = forecast.trend.growth else { continue };
        let Some(subject) = subject(scene, &forecast.track, forecast) else { continue };
        let is_new = forecast.holder.is_none_or(|holder| told.insert(holder));
        if is_new && (rate.kind == Kind::Leak || forecast.eta_s().is_some()) {
            findings.push(judge_one(scene, forecast, &rate, subject));
        }
    }
    findings
}

fn judge_one(scene: &Scene<'_>, forecast: &Forecast, rate: &Rate, subject: Subject) -> Finding {
    let severity = severity(scene, forecast).unwrap_or(Severity::Info);
    let eta = forecast.eta_s();
    let mut evidence = vec![
        Evidence { name: "growth_per_hour", observed: Some(rate.per_hour), threshold: None, unit: Unit::Count },
        Evidence { name: "used", observed: Some(forecast.now.used), threshold: forecast.now.limit, unit: Unit::Count },
    ];
    let threshold = scene.policy.eta.of(severity);
    evidence.extend(eta.map(|eta| Evidence { name: "eta", observed: Some(eta), threshold, unit: Unit::Seconds }));
    Finding {
        rule: Rule::Growth,
        severity,
        confidence: match rate.kind {
            Kind::Leak => Confidence::Certain,
            Kind::Use => Confidence::Likely,
        },
        summary: format!("{} {}: {}", what(scene, forecast), forecast.trend.wall.outlook(), rate.pace()),
        details: details(scene, forecast),
        evidence,
        remedies: remedies(scene, &subject, rate.kind),
        will_not_help: match rate.kind {
            Kind::Leak => vec!["a higher limit moves the day; what leaks meets it all the same".to_owned()],
            Kind::Use => Vec::new(),
        },
        subject,
    }
}

/// How bad the time that is left is; `None` when it is not known, or long enough.
fn severity(scene: &Scene<'_>, forecast: &Forecast) -> Option<Severity> {
    scene.policy.eta.judge(forecast.eta_s()?)
}

/// ` are gone in about 9 days`, of the ports of a pool that grows; empty otherwise.
pub(super) fn gone_in(scene: &Scene<'_>, pool: &PortPool) -> String {
    // Where nothing is remembered, nothing is compared.
    let name = || pool_name(scene.snapshot, pool);
    let is_it = |forecast: &&Forecast| matches!(&forecast.track, Track::Ports(track) if *track == name());
    match scene.forecasts.iter().find(is_it).and_then(Forecast::eta_s).filter(|eta| *eta > 0.0) {
        Some(eta) => format!(" are gone in about {}", ahead(eta)),
        None => String::new(),
    }
}

fn subject(scene: &Scene<'_>, track: &Track, forecast: &Forecast) -> Option<Subject> {
    match track {
        Track::Descriptors(_) => Some(Subject::Process(scene.process_with(forecast.holder?)?)),
        Track::Ports(name) => {
            let pool = scene.pool_named(name)?;
            Some(Subject::PortPool { netns: pool.netns, source: pool.source, destination: pool.destination })
        }
        Track::Limit(LimitKind::Conntrack, Some(netns)) => Some(Subject::Namespace(scene.netns_named(netns)?)),
        Track::Limit(..) => Some(Subject::Host),
    }
}

/// `the ports from 10.0.0.5 to 10.0.3.7:8086 are`, `the descriptors of telegraf[1234] are`.
pub(super) fn what(scene: &Scene<'_>, forecast: &Forecast) -> String {
    match &forecast.track {
        Track::Descriptors(service) => {
            let process = forecast.holder.and_then(|holder| scene.process_with(holder));
            let who = process.map_or_else(|| printable(&service.name).into_owned(), |process| scene.who(process));
            format!("the descriptors of {who}")
        }
        Track::Ports(name) => {
            let place = scene.pool_named(name).map_or_else(String::new, |pool| scene.place(pool.netns));
            format!("the ports {}{place}", route(name.source, &name.destination))
        }
        Track::Limit(kind, _) => kind.label().to_owned(),
    }
}

fn details(scene: &Scene<'_>, forecast: &Forecast) -> Vec<String> {
    let mut details = Vec::new();
    if let Wall::In { earliest_s, latest_s, .. } = forecast.trend.wall {
        let latest = latest_s.map_or_else(|| "no end that is known".to_owned(), ahead);
        details.push(format!("Between {} and {latest}: nine ends in ten came within such bounds.", ahead(earliest_s)));
    }
    if let Track::Ports(name) = &forecast.track
        && let Some(pool) = scene.pool_named(name)
        && let Some((holder, held)) = pool.holders.first()
    {
        let share = percent(*held as f64 / f64::from(pool.used.max(1)));
        details.push(format!("{} holds {share} of those in use.", scene.who_and_where(*holder)));
    }
    let Stayed { since_last, for_a_day } = forecast.stayed;
    if since_last > 0 {
        let day = match for_a_day {
            0 => String::new(),
            same => format!(", and {} have been so for a day and more", count(same)),
        };
        details.push(format!("{} of its stuck sockets are the same as at the last look{day}.", count(since_last)));
    }
    details
}

fn remedies(scene: &Scene<'_>, subject: &Subject, kind: Kind) -> Vec<Remedy> {
    match (subject, kind) {
        (Subject::PortPool { netns, .. }, Kind::Use) => remedy::wider_range(scene, *netns).into_iter().collect(),
        (_, Kind::Leak) => vec![Remedy::new(
            When::Fix,
            "see what close_wait_leak or ghost_sockets says of it: what is leaked does not come back by itself",
        )],
        (_, Kind::Use) => vec![Remedy::new(When::Soon, "raise the limit, or find out what uses more every day")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::{Script, endpoint, stuck};

    fn leaking(hours: f64) -> Script {
        let mut script = Script::new();
        let process = script.process("telegraf", 1234);
        script.unit(process, "telegraf.service");
        let peer = endpoint("10.0.3.7:8086");
        script.close_wait(process, stuck(9_400, 86_400), &[peer]);
        script.pool(peer, 10_000).holders = vec![(process, 9_400)];
        script.fills_up(83.0, hours);
        script
    }

    #[test]
    fn the_time_that_is_left_is_told_and_graded() {
        let finding = leaking(9.0 * 24.0).only(Rule::Growth);
        assert_eq!(
            finding.summary,
            "the ports from 10.0.0.5 to 10.0.3.7:8086 are gone in about 9 days: 83 more every hour, as seen over 24 h"
        );
        assert_eq!(finding.severity, Severity::Info, "more than a week");
        assert_eq!(
            finding.details,
            [
                "Between 8 days and 9 days: nine ends in ten came within such bounds.",
                "telegraf[1234] (telegraf.service) holds 94 % of those in use.",
                "9,390 of its stuck sockets are the same as at the last look, and 7,400 have been so for a day and more."
            ]
        );
        assert_eq!(leaking(6.0 * 24.0).only(Rule::Growth).severity, Severity::Warning);
        assert_eq!(leaking(20.0).only(Rule::Growth).severity, Severity::Critical);
    }

    #[test]
    fn the_headline_of_a_pool_says_when_it_is_gone() {
        let mut script = leaking(20.0);
        script.census.port_pools[0].used = 20_000;
        script.census.port_pools[0].remaining = 8_232;
        script.census.port_pools[0].remaining_at_least = 8_232;
        let headline = script.headline();
        assert!(
            headline.starts_with("ports from 10.0.0.5 to 10.0.3.7:8086 are gone in about 20 h: 20,000 of 28,232 used"),
            "{headline}"
        );
    }

    #[test]
    fn one_leak_is_one_finding_and_nothing_that_stands_still_is_any() {
        let mut script = leaking(20.0);
        let mut descriptors = script.forecasts[0].clone();
        descriptors.track = Track::Limit(LimitKind::FileMax, None);
        script.forecasts.push(descriptors);
        script.only(Rule::Growth);
        script.forecasts.iter_mut().for_each(|forecast| forecast.trend.growth = Growth::Flat);
        script.none(Rule::Growth);
    }
}
