//! The history for machines: `closewatch.history/1`. `history.schema.json` says what each field means.

use std::io::{self, Write};
use std::time::SystemTime;

use super::states::states_of;
use super::times::rfc3339;
use crate::chronicle::{Chronicle, Line};
use crate::model::look::Look;
use crate::model::past::{Point, Service, Track};
use crate::render::json::{States, rfc3339 as checked, without_invisible};
use crate::trend::forecast::unix_seconds;
use crate::trend::{Growth, Trend, Wall};

/// The name of the format. A field may be added to it; a renamed or removed one makes it `/2`.
const SCHEMA: &str = "closewatch.history/1";

/// Writes the chronicle as one JSON document.
///
/// # Errors
/// Those of `out`, and a clock that shows a year beyond 9999.
pub(super) fn render(chronicle: &Chronicle, out: &mut impl Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&Document::of(chronicle)?)?;
    out.write_all(without_invisible(text).as_bytes())?;
    out.write_all(b"\n")
}

#[derive(serde::Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    at: String,
    outlook: &'static str,
    headline: &'a str,
    series: Vec<SeriesRow<'a>>,
    looks: Vec<LookRow<'a>>,
    remembered: RememberedRow<'a>,
    notes: Vec<&'a str>,
}

#[derive(serde::Serialize)]
struct RememberedRow<'a> {
    file: Option<String>,
    bytes: Option<u64>,
    looks: u64,
    looks_one_by_one: u64,
    hours: u64,
    since: Option<String>,
    until: Option<String>,
    last_verdict: Option<&'a str>,
    stuck: u64,
    stuck_for_a_day: u64,
}

#[derive(serde::Serialize)]
struct SeriesRow<'a> {
    kind: &'static str,
    namespace: Option<&'a str>,
    process: Option<ProcessRow<'a>>,
    source: Option<String>,
    destination: Option<String>,
    holder_pid: Option<u32>,
    used: u64,
    leaked: u64,
    limit: Option<u64>,
    looks: usize,
    last_seen: String,
    growth: GrowthRow,
    wall: WallRow,
    points: Vec<PointRow>,
}

#[derive(serde::Serialize)]
struct ProcessRow<'a> {
    name: &'a str,
    executable: Option<&'a str>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct GrowthRow {
    state: &'static str,
    why: Option<&'static str>,
    kind: Option<&'static str>,
    per_hour: Option<f64>,
    per_hour_at_least: Option<f64>,
    per_hour_at_most: Option<f64>,
    seen_over_s: Option<f64>,
}

#[derive(serde::Serialize)]
struct WallRow {
    state: &'static str,
    eta_s: Option<f64>,
    eta_at_least_s: Option<f64>,
    eta_at_most_s: Option<f64>,
    expected_at: Option<String>,
}

#[derive(serde::Serialize)]
struct PointRow {
    at: String,
    used: u64,
    leaked: u64,
    limit: Option<u64>,
    run: u64,
}

#[derive(serde::Serialize)]
struct LookRow<'a> {
    began: String,
    ended: String,
    looks: u64,
    verdict: &'a str,
    attributed: bool,
    stuck: u64,
    states: States,
}

impl<'a> Document<'a> {
    fn of(chronicle: &'a Chronicle) -> io::Result<Self> {
        Ok(Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            at: checked(chronicle.at).ok_or_else(|| io::Error::other("the clock shows a year that no calendar has"))?,
            outlook: chronicle.tone.token(),
            headline: &chronicle.headline,
            series: chronicle.lines.iter().map(|line| SeriesRow::of(line, chronicle.at)).collect(),
            looks: chronicle.looks.iter().map(LookRow::of).collect(),
            remembered: RememberedRow::of(chronicle),
            notes: chronicle.caveat.iter().chain(&chronicle.notes).map(String::as_str).collect(),
        })
    }
}

impl<'a> RememberedRow<'a> {
    fn of(chronicle: &'a Chronicle) -> Self {
        let extent = &chronicle.extent;
        Self {
            file: chronicle.file.as_ref().map(|file| file.path.to_string_lossy().into_owned()),
            bytes: chronicle.file.as_ref().map(|file| file.bytes),
            looks: extent.all_looks,
            looks_one_by_one: extent.looks,
            hours: extent.hours,
            since: extent.between.map(|(first, _)| moment(first)),
            until: extent.between.map(|(_, last)| moment(last)),
            last_verdict: chronicle.last_verdict.as_deref(),
            stuck: chronicle.stuck.now,
            stuck_for_a_day: chronicle.stuck.for_a_day,
        }
    }
}

impl<'a> SeriesRow<'a> {
    fn of(line: &'a Line, at: SystemTime) -> Self {
        let forecast = &line.forecast;
        let (kind, namespace) = match &forecast.track {
            Track::Descriptors(service) => ("fds", Some(service.netns.as_str())),
            Track::Ports(name) => ("ports", Some(name.netns.as_str())),
            Track::Limit(kind, netns) => (kind.token(), netns.as_deref()),
        };
        let (process, route) = match &forecast.track {
            Track::Descriptors(service) => (Some(ProcessRow::of(service)), None),
            Track::Ports(name) => (None, Some((name.source.to_string(), name.destination.to_string()))),
            Track::Limit(..) => (None, None),
        };
        let (source, destination) = route.unzip();
        Self {
            kind,
            namespace,
            process,
            source,
            destination,
            holder_pid: forecast.holder.map(|holder| holder.pid),
            used: forecast.now.used as u64,
            leaked: forecast.now.leaked as u64,
            limit: forecast.now.limit.map(|limit| limit as u64),
            looks: forecast.n_looks + 1,
            last_seen: rfc3339(forecast.now.at),
            growth: GrowthRow::of(&forecast.trend),
            wall: WallRow::of(forecast.trend.wall, at),
            points: line.points.iter().map(PointRow::of).collect(),
        }
    }
}

impl<'a> ProcessRow<'a> {
    fn of(service: &'a Service) -> Self {
        Self {
            name: &service.name,
            executable: service.exe.as_deref(),
            unit: service.unit.as_deref(),
            container: service.container.as_deref(),
        }
    }
}

impl GrowthRow {
    fn of(trend: &Trend) -> Self {
        let (why, rate) = match trend.growth {
            Growth::Unknown(why) => (Some(why.token()), None),
            Growth::Flat => (None, None),
            Growth::Growing(rate) => (None, Some(rate)),
        };
        Self {
            state: trend.growth.token(),
            why,
            kind: rate.map(|rate| rate.kind.token()),
            per_hour: rate.map(|rate| rate.per_hour),
            per_hour_at_least: rate.map(|rate| rate.at_least),
            per_hour_at_most: rate.map(|rate| rate.at_most),
            seen_over_s: rate.map(|rate| rate.over.as_secs_f64()),
        }
    }
}

impl WallRow {
    fn of(wall: Wall, at: SystemTime) -> Self {
        let (expected, earliest, latest) = match wall {
            Wall::In { expected_s, earliest_s, latest_s } => (Some(expected_s), Some(earliest_s), latest_s),
            Wall::Reached => (Some(0.0), Some(0.0), Some(0.0)),
            Wall::Unknown(_) | Wall::NoLimit | Wall::NotApproached => (None, None, None),
        };
        Self {
            state: wall.token(),
            eta_s: expected,
            eta_at_least_s: earliest,
            eta_at_most_s: latest,
            expected_at: expected.map(|expected| rfc3339(unix_seconds(at) + expected)),
        }
    }
}

impl PointRow {
    fn of(point: &Point) -> Self {
        Self {
            at: rfc3339(point.at),
            used: point.used as u64,
            leaked: point.leaked as u64,
            limit: point.limit.map(|limit| limit as u64),
            run: point.run,
        }
    }
}

impl<'a> LookRow<'a> {
    fn of(look: &'a Look) -> Self {
        Self {
            began: moment(look.began),
            ended: moment(look.ended),
            looks: look.looks,
            verdict: &look.verdict,
            attributed: look.attributed,
            stuck: look.n_stuck.last,
            states: States(states_of(look)),
        }
    }
}

fn moment(time: SystemTime) -> String {
    rfc3339(unix_seconds(time))
}
