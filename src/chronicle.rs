//! The pure core of `history`: from what is remembered to all that a renderer may know.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::model::look::Look;
use crate::model::past::{Past, Point, Track};
use crate::model::text::printable;
use crate::model::wording::{count, counted};
use crate::trend::forecast::{self, Forecast, unix_seconds};
use crate::trend::words::ahead;
use crate::trend::{Growth, Rate, Trend, Wall, Why};

/// What is remembered, and of when it is told.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The numbers that were followed.
    pub past: Past,
    /// The looks and hours that they come from, oldest first.
    pub looks: Vec<Look>,
    /// Where it lies; `None` when it was put together for this once.
    pub file: Option<HistoryFile>,
    /// What must be known before anything of it is believed: that it ends long ago.
    pub caveat: Option<String>,
    /// What the reader should know of it: what was set aside, what was left out.
    pub notes: Vec<String>,
}

/// A history on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryFile {
    /// Its path.
    pub path: PathBuf,
    /// Its size in bytes, with what lies beside it.
    pub bytes: u64,
}

/// All that a renderer may know of a history.
#[derive(Debug)]
pub struct Chronicle {
    /// The moment that it speaks of: now, or where the last look is long ago, the moment of that.
    pub at: SystemTime,
    /// Every number that was followed, the nearest wall first. Growth is judged by all that is remembered.
    pub lines: Vec<Line>,
    /// The looks and hours that are shown, oldest first.
    pub looks: Vec<Look>,
    /// How many namespaces the last look read.
    pub n_namespaces: usize,
    /// What is remembered in all, shown or not.
    pub extent: Extent,
    /// The stuck sockets of the last look.
    pub stuck: Stuck,
    /// How the last look was graded; `None` without one.
    pub last_verdict: Option<String>,
    /// Where it lies.
    pub file: Option<HistoryFile>,
    /// What must be known before anything of it is believed: that it ends long ago.
    pub caveat: Option<String>,
    /// What the reader should know of it.
    pub notes: Vec<String>,
    /// What it comes to.
    pub tone: Tone,
    /// The same in one sentence, safe to print.
    pub headline: String,
}

/// One number over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What is to be expected of it; of one that the last look did not list, [`Why::Gone`].
    pub forecast: Forecast,
    /// Of the ports of a pool: who held most of them at the last look, `telegraf[1234]`, safe to print.
    pub holder: Option<String>,
    /// The points that are shown, oldest first.
    pub points: Vec<Point>,
}

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Looks that are kept one by one.
    pub looks: u64,
    /// Hours of looks that are kept as one.
    pub hours: u64,
    /// All the looks that these are.
    pub all_looks: u64,
    /// When the first and the last look began; `None` without looks.
    pub between: Option<(SystemTime, SystemTime)>,
}

/// Sockets that were stuck in CLOSE-WAIT at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stuck {
    /// How many.
    pub now: u64,
    /// Of these, the very same ones for a day and more, as far as they are known one by one.
    pub for_a_day: u64,
}

/// What a history comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something grows towards a wall, or has met it.
    Wall,
    /// Something grows, and meets no wall within a year.
    Growing,
    /// Nothing grows.
    Steady,
    /// Too little is known.
    NotKnown,
}

impl Tone {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Growing => "growing",
            Self::Steady => "steady",
            Self::NotKnown => "unknown",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Wall => "FIRST WALL",
            Self::Growing => "GROWING",
            Self::Steady => "STEADY",
            Self::NotKnown => "NOT KNOWN YET",
        }
    }
}

/// Judges what is remembered at this moment, and keeps of it what was seen since then; all, without such a moment. It
/// cannot fail: what is not known yet is a value of its own.
#[must_use]
pub fn build(remembered: Remembered, at: SystemTime, since: Option<SystemTime>) -> Chronicle {
    let Remembered { past, mut looks, file, caveat, notes } = remembered;
    let extent = extent(&looks);
    let mut lines = lines(&past, &looks, at);
    lines.sort_by(|a, b| a.is_gone().cmp(&b.is_gone()).then_with(|| a.forecast.by_urgency(&b.forecast)));
    let n_namespaces = looks.last().map_or(0, |look| look.namespaces.len());
    let (tone, headline) = match looks.is_empty() {
        true => (Tone::NotKnown, "there is no look in it yet".to_owned()),
        false => headline(&lines, n_namespaces),
    };
    if let Some(since) = since {
        looks.retain(|look| look.ended >= since);
        let since = unix_seconds(since);
        lines.iter_mut().for_each(|line| line.points.retain(|point| point.at >= since));
    }
    Chronicle {
        at,
        lines,
        looks,
        n_namespaces,
        extent,
        stuck: stuck(&past, at),
        last_verdict: past.last_verdict,
        file,
        caveat,
        notes,
        tone,
        headline,
    }
}

impl Line {
    /// How fast it grows, when it does.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        match self.forecast.trend.growth {
            Growth::Growing(rate) => Some(rate),
            Growth::Flat | Growth::Unknown(_) => None,
        }
    }

    /// Whether the last look did not list it any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.forecast.trend.growth == Growth::Unknown(Why::Gone)
    }
}

fn extent(looks: &[Look]) -> Extent {
    let hours = looks.iter().filter(|look| look.looks > 1).count() as u64;
    Extent {
        looks: looks.len() as u64 - hours,
        hours,
        all_looks: looks.iter().map(|look| look.looks).sum(),
        between: looks.first().zip(looks.last()).map(|(first, last)| (first.began, last.ended)),
    }
}

fn lines(past: &Past, looks: &[Look], at: SystemTime) -> Vec<Line> {
    /// Moments are remembered by the millisecond, and become numbers in more than one way.
    const GRAIN_S: f64 = 1e-3;
    let seen_last = |look: &Look| unix_seconds(look.ended) - GRAIN_S;
    let last = looks.last().map_or(f64::NEG_INFINITY, seen_last);
    // A look that did not look for holders does not say that a process is gone.
    let last_attributed = looks.iter().rfind(|look| look.attributed).map_or(f64::NEG_INFINITY, seen_last);
    let line = |series| {
        let mut forecast = forecast::of_remembered(series, unix_seconds(at) + GRAIN_S)?;
        let listed_until = if matches!(forecast.track, Track::Descriptors(_)) { last_attributed } else { last };
        if forecast.now.at < listed_until {
            forecast.trend = Trend { growth: Growth::Unknown(Why::Gone), wall: Wall::Unknown(Why::Gone) };
        }
        Some(Line { holder: holder(&forecast, looks), forecast, points: series.points.iter().collect() })
    };
    past.series.iter().filter_map(line).collect()
}

fn holder(forecast: &Forecast, looks: &[Look]) -> Option<String> {
    let key = forecast.holder.filter(|_| matches!(forecast.track, Track::Ports(_)))?;
    let (program, _) = looks.last()?.processes.iter().find(|(program, _)| program.key == key)?;
    Some(format!("{}[{}]", printable(&program.service.name), key.pid))
}

fn stuck(past: &Past, at: SystemTime) -> Stuck {
    const DAY: Duration = Duration::from_secs(86_400);
    let since = past.stuck_since.iter();
    let for_a_day = since.filter(|(_, since)| at.duration_since(*since).is_ok_and(|span| span >= DAY)).count() as u64;
    Stuck { now: past.n_stuck, for_a_day }
}

/// The first wall; where there is none, why not.
fn headline(lines: &[Line], n_namespaces: usize) -> (Tone, String) {
    let growing = lines.iter().filter(|line| line.rate().is_some());
    let ahead = growing.clone().find(|line| line.forecast.eta_s().is_some());
    let met = lines.iter().find(|line| line.forecast.trend.wall == Wall::Reached);
    if let Some((line, rate)) = ahead.and_then(|line| Some((line, line.rate()?))) {
        return (Tone::Wall, first_wall(line, &rate, n_namespaces));
    }
    if let Some(line) = met {
        return (Tone::Wall, format!("{} {}", what(&line.forecast, n_namespaces), line.forecast.trend.wall.outlook()));
    }
    if let Some((line, rate)) = growing.clone().find_map(|line| Some((line, line.rate()?))) {
        let what = what(&line.forecast, n_namespaces);
        return (Tone::Growing, format!("{what} grow, and meet no limit within a year: {}", rate.pace()));
    }
    let current = lines.iter().filter(|line| !line.is_gone());
    let flat = current.clone().filter(|line| line.forecast.trend.growth == Growth::Flat).count() as u64;
    let all = current.clone().count() as u64;
    match (flat, most_frequent_why(current)) {
        (0, None) => (Tone::NotKnown, "no look has found anything to follow".to_owned()),
        (0, Some(why)) => (Tone::NotKnown, why.label().to_owned()),
        (flat, None) => {
            (Tone::Steady, format!("nothing grows: {} followed", counted(flat, "number is", "numbers are")))
        }
        (flat, Some(why)) => {
            let (all, unknown) = (counted(all, "number", "numbers"), count(all - flat));
            (Tone::Steady, format!("nothing is seen to grow; of {all} {unknown} cannot be told yet: {}", why.label()))
        }
    }
}

/// `the ports from 10.0.0.5 to 10.0.3.7:8086 are gone in about 9 days (8 days to 10 days): 83 more every hour, ...`.
fn first_wall(line: &Line, rate: &Rate, n_namespaces: usize) -> String {
    let wall = line.forecast.trend.wall;
    let between = match wall {
        Wall::In { earliest_s, latest_s, .. } => match (ahead(earliest_s), latest_s.map(ahead)) {
            (earliest, Some(latest)) if earliest == latest => String::new(),
            (earliest, Some(latest)) => format!(" ({earliest} to {latest})"),
            (earliest, None) => format!(" ({earliest} or more)"),
        },
        _ => String::new(),
    };
    let holder = line.holder.as_ref().map_or_else(String::new, |holder| format!("; {holder} holds most of them"));
    let what = what(&line.forecast, n_namespaces);
    format!("{what} {}{between}: {}{holder}", wall.outlook(), rate.pace())
}

fn most_frequent_why<'a>(lines: impl Iterator<Item = &'a Line> + Clone) -> Option<Why> {
    let whys = lines.filter_map(|line| match line.forecast.trend.growth {
        Growth::Unknown(why) => Some(why),
        Growth::Flat | Growth::Growing(_) => None,
    });
    whys.clone().max_by_key(|why| whys.clone().filter(|other| other == why).count())
}

/// `the ports from 10.0.0.5 to 10.0.3.7:8086`, `the descriptors of telegraf[1234]`; safe to print.
fn what(forecast: &Forecast, n_namespaces: usize) -> String {
    let place = |netns: &str| if n_namespaces > 1 { format!(" in {}", printable(netns)) } else { String::new() };
    match &forecast.track {
        Track::Descriptors(service) => {
            let pid = forecast.holder.map_or_else(String::new, |holder| format!("[{}]", holder.pid));
            format!("the descriptors of {}{pid}", printable(&service.name))
        }
        Track::Ports(name) => {
            format!("the ports from {} to {}{}", name.source, name.destination, place(&name.netns))
        }
        Track::Limit(kind, netns) => {
            format!("{}{}", kind.label(), netns.as_deref().map_or_else(String::new, place))
        }
    }
}
