//! What grows, as earlier looks show it, and when it meets its limit. `history` tells the same of what is remembered.

use std::time::Duration;

use super::grid::{Align, Column, Grid};
use super::sheet::{Sheet, rows_shown};
use crate::model::past::Track;
use crate::model::text::printable;
use crate::model::wording::{count, span};
use crate::report::Report;
use crate::trend::forecast::Forecast;
use crate::trend::{Growth, Rate, Wall};

/// Writes what grows, the nearest limit first.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let grows = |forecast: &'_ &Forecast| rate(forecast).is_some();
    let growing: Vec<&Forecast> = report.forecasts.iter().filter(grows).collect();
    if growing.is_empty() {
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("GROWTH", Align::Left, 0),
        Column::new("used of limit", Align::Right, 0),
        Column::new("more an hour", Align::Right, 0),
        Column::new("gone in", Align::Right, 0),
        Column::new("between", Align::Left, 2),
        Column::new("seen over", Align::Right, 1),
        Column::new("grows", Align::Left, 3),
    ]);
    let shown = rows_shown(sheet.page(), growing.len());
    for forecast in &growing[..shown] {
        let Some(rate) = rate(forecast) else { continue };
        grid.push(vec![
            format!("  {}", track(forecast, report.snapshot.namespaces.len())),
            used(forecast),
            per_hour(rate.per_hour),
            gone_in(forecast.trend.wall),
            between(forecast.trend.wall),
            span(rate.over),
            rate.kind.label().to_owned(),
        ]);
    }
    sheet.grid(&grid, growing.len() - shown, "slower ones");
}

fn rate(forecast: &Forecast) -> Option<Rate> {
    match forecast.trend.growth {
        Growth::Growing(rate) => Some(rate),
        Growth::Flat | Growth::Unknown(_) => None,
    }
}

/// What a number is of: `10.0.0.5 → 10.0.3.7:8086`, `descriptors of telegraf[1234]`, with the namespace where there are
/// several.
pub(in crate::render) fn track(forecast: &Forecast, n_namespaces: usize) -> String {
    let place = |netns: &str| if n_namespaces > 1 { format!(" in {}", printable(netns)) } else { String::new() };
    match &forecast.track {
        Track::Descriptors(service) => {
            let pid = forecast.holder.map_or_else(String::new, |holder| format!("[{}]", holder.pid));
            format!("descriptors of {}{pid}", printable(&service.name))
        }
        Track::Ports(name) => format!("{} → {}{}", name.source, name.destination, place(&name.netns)),
        Track::Limit(kind, netns) => format!("{}{}", kind.token(), netns.as_deref().map_or_else(String::new, place)),
    }
}

/// `27,912 of 28,232`.
pub(in crate::render) fn used(forecast: &Forecast) -> String {
    let used = count(forecast.now.used as u64);
    forecast.now.limit.map_or_else(|| used.clone(), |limit| format!("{used} of {}", count(limit as u64)))
}

/// Slow growth in tenths: 0.3 an hour is 7 a day.
pub(in crate::render) fn per_hour(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { count(rate.round() as u64) }
}

/// When the wall is met, or why that is not told.
pub(in crate::render) fn gone_in(wall: Wall) -> String {
    match wall {
        Wall::In { expected_s, .. } => in_words(expected_s),
        other => other.label().to_owned(),
    }
}

/// The ends of the interval in which it is met.
pub(in crate::render) fn between(wall: Wall) -> String {
    match wall {
        Wall::In { earliest_s, latest_s: Some(latest), .. } => {
            format!("{} – {}", in_words(earliest_s), in_words(latest))
        }
        Wall::In { earliest_s, latest_s: None, .. } => format!("{} or more", in_words(earliest_s)),
        _ => String::new(),
    }
}

fn in_words(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
