//! The history for people: the first wall, what grows, the plots, the states, and what all that comes from.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::plot::{Signs, plot};
use super::times::{stamp, stamp_of};
use super::{Page, states};
use crate::chronicle::{Chronicle, Extent, HistoryFile, Line, Stuck, Tone};
use crate::model::past::Track;
use crate::model::text::printable;
use crate::model::wording::{count, counted, span};
use crate::render::Detail;
use crate::render::table::grid::{Align, Column, Grid};
use crate::render::table::growth::{between, gone_in, per_hour, track, used};
use crate::render::table::sheet::{STRONG, Sheet, rows_shown};
use crate::trend::forecast::unix_seconds;
use crate::trend::{Growth, Kind, Wall, Why};

/// Plots that are drawn when not all are asked for.
const FIRST_PLOTS: usize = 3;
/// Plots are no wider than this: a column of a wider one would say nothing new.
const WIDEST_PLOT: usize = 200;

/// Writes the chronicle as text.
///
/// # Errors
/// Those of `out`.
pub(super) fn render(chronicle: &Chronicle, page: &Page, out: &mut impl Write) -> io::Result<()> {
    let mut sheet = Sheet::new(page);
    let tone = chronicle.tone;
    sheet.labelled((0, 0), (tone.label(), of_tone(tone)), &chronicle.headline);
    sheet.blank();
    if let Some(caveat) = &chronicle.caveat {
        sheet.sentence(2, &format!("Note that {}.", printable(caveat)));
        sheet.blank();
    }
    write_expected(chronicle, &mut sheet);
    write_growth(chronicle, &mut sheet);
    write_plots(chronicle, &mut sheet);
    states::write(chronicle, &mut sheet);
    sheet.blank();
    write_remembered(chronicle, &mut sheet);
    out.write_all(sheet.into_text().as_bytes())
}

/// The style of a tone. Its word says the same without colour.
fn of_tone(tone: Tone) -> Style {
    match tone {
        Tone::Wall => AnsiColor::Red.on_default().bold(),
        Tone::Growing => AnsiColor::Yellow.on_default().bold(),
        Tone::Steady => AnsiColor::Green.on_default().bold(),
        Tone::NotKnown => AnsiColor::Magenta.on_default().bold(),
    }
}

/// The day of the first wall, what is in doubt about it, and whether what grows comes back by itself.
fn write_expected(chronicle: &Chronicle, sheet: &mut Sheet) {
    let first = chronicle.lines.first();
    let Some((line, rate)) = first.and_then(|line| Some((line, line.rate()?))) else { return };
    let Wall::In { expected_s, earliest_s, latest_s } = line.forecast.trend.wall else { return };
    let at = |seconds: f64| stamp_of(unix_seconds(chronicle.at) + seconds);
    let (expected, earliest) = (at(expected_s), at(earliest_s));
    let interval = match latest_s {
        Some(latest) => format!("between {earliest} and {}", at(latest)),
        None => format!("no earlier than {earliest}, and no latest moment is known"),
    };
    let kind = match rate.kind {
        Kind::Leak => "What grows is leaked, and does not come back by itself.",
        Kind::Use => "What grows is in use, at every time of day, and not surely leaked.",
    };
    sheet.sentence(2, &format!("Expected on {expected}; {interval}. {kind}"));
    sheet.blank();
}

fn write_growth(chronicle: &Chronicle, sheet: &mut Sheet) {
    let is_full = sheet.page().detail == Detail::Full;
    let lines: Vec<&Line> = chronicle.lines.iter().filter(|line| is_full || !line.is_gone()).collect();
    if lines.is_empty() {
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("GROWTH", Align::Left, 0),
        Column::new("used of limit", Align::Right, 0),
        Column::new("more an hour", Align::Right, 0),
        Column::new("surely", Align::Left, 3),
        Column::new("gone in", Align::Right, 0),
        Column::new("between", Align::Left, 2),
        Column::new("seen over", Align::Right, 1),
        Column::new("grows", Align::Left, 1),
        Column::new("mostly of", Align::Left, 2),
    ]);
    let shown = rows_shown(sheet.page(), lines.len());
    lines[..shown].iter().for_each(|line| grid.push(growth_row(chronicle, line)));
    sheet.grid(&grid, lines.len() - shown, "those that are furthest from their limit");
    write_reasons(&lines, sheet);
}

fn growth_row(chronicle: &Chronicle, line: &Line) -> Vec<String> {
    let forecast = &line.forecast;
    let name = format!("  {}", track(forecast, chronicle.n_namespaces));
    let holder = line.holder.clone().unwrap_or_default();
    let Some(rate) = line.rate() else {
        let growth = match forecast.trend.growth {
            Growth::Unknown(Why::Gone) => "gone",
            Growth::Unknown(_) => "not known yet",
            Growth::Flat | Growth::Growing(_) => "none",
        };
        let wall = if forecast.trend.wall == Wall::Reached { gone_in(Wall::Reached) } else { String::new() };
        let empty = String::new;
        return vec![name, used(forecast), growth.to_owned(), empty(), wall, empty(), empty(), empty(), holder];
    };
    vec![
        name,
        used(forecast),
        per_hour(rate.per_hour),
        format!("{} – {}", per_hour(rate.at_least), per_hour(rate.at_most)),
        match forecast.trend.wall {
            Wall::NotApproached => "over a year".to_owned(),
            wall => gone_in(wall),
        },
        between(forecast.trend.wall),
        span(rate.over),
        rate.kind.label().to_owned(),
        holder,
    ]
}

/// Why something is not known yet, once for all that it is not known of.
fn write_reasons(lines: &[&Line], sheet: &mut Sheet) {
    let mut reasons: Vec<(Why, u64)> = Vec::new();
    for line in lines {
        let Growth::Unknown(why) = line.forecast.trend.growth else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, number)) => *number += 1,
            None => reasons.push((why, 1)),
        }
    }
    for (why, number) in reasons.into_iter().filter(|(why, _)| *why != Why::Gone) {
        sheet.sentence(2, &format!("not known yet of {}: {}", count(number), why.label()));
    }
}

fn write_plots(chronicle: &Chronicle, sheet: &mut Sheet) {
    let width = sheet.page().width.map_or(80, usize::from).min(WIDEST_PLOT).saturating_sub(2);
    let at = unix_seconds(chronicle.at);
    let lines = of_interest(chronicle, sheet.page().detail);
    let plots: Vec<_> = lines.into_iter().filter_map(|line| Some((line, plot(line, at, width)?))).collect();
    if plots.is_empty() {
        return;
    }
    let signs = plots.iter().map(|(_, plot)| plot.signs).fold(Signs::default(), |all, signs| Signs {
        leaked: all.leaked | signs.leaked,
        expected: all.expected | signs.expected,
        other_run: all.other_run | signs.other_run,
    });
    sheet.blank();
    sheet.items("OVER TIME", &legend(signs));
    for (line, plot) in plots {
        sheet.blank();
        sheet.labelled((2, 0), (&title(chronicle, line), STRONG), "");
        plot.lines.iter().for_each(|line| sheet.verbatim(2, line));
    }
}

fn legend(signs: Signs) -> Vec<String> {
    let known = [
        (signs.leaked, "█ leaked"),
        (true, "░ in use"),
        (signs.expected, "· expected"),
        (signs.other_run, "▲ another process"),
        (true, "(UTC)"),
    ];
    known.into_iter().filter(|(is_there, _)| *is_there).map(|(_, text)| text.to_owned()).collect()
}

/// What grows towards a wall; when nothing does, what grows, or else what is nearest to its limit. Everything, where that is
/// asked for.
fn of_interest(chronicle: &Chronicle, detail: Detail) -> Vec<&Line> {
    let lines = chronicle.lines.iter();
    if detail == Detail::Full {
        return lines.collect();
    }
    let towards_a_wall: Vec<&Line> =
        lines.clone().filter(|line| line.rate().is_some() && line.forecast.eta_s().is_some()).collect();
    match towards_a_wall.as_slice() {
        [] => {
            // What is nobody's own says least.
            let (owned, others): (Vec<&Line>, Vec<&Line>) =
                lines.filter(|line| !line.is_gone()).partition(|line| !matches!(line.forecast.track, Track::Limit(..)));
            owned.into_iter().chain(others).take(1).collect()
        }
        several => several.iter().copied().take(FIRST_PLOTS).collect(),
    }
}

fn title(chronicle: &Chronicle, line: &Line) -> String {
    let name = track(&line.forecast, chronicle.n_namespaces);
    let until = || line.points.last().map_or_else(String::new, |last| format!(", until {}", stamp_of(last.at)));
    if line.is_gone() { format!("{name}{}", until()) } else { name }
}

fn write_remembered(chronicle: &Chronicle, sheet: &mut Sheet) {
    let mut told = vec![extent(&chronicle.extent)];
    told.extend(chronicle.file.as_ref().map(file));
    told.extend(stuck(chronicle.stuck));
    told.extend(
        chronicle.last_verdict.as_ref().map(|verdict| format!("the last look was graded {}", printable(verdict))),
    );
    told.extend(chronicle.notes.iter().map(|note| printable(note).into_owned()));
    sheet.statements("REMEMBERED", &told);
}

fn extent(extent: &Extent) -> String {
    let Some((first, last)) = extent.between else { return "no look yet".to_owned() };
    let looks = match (extent.looks, extent.hours) {
        (looks, 0) => counted(looks, "look", "looks"),
        (looks, hours) => format!(
            "{}: {} one by one, before that {}",
            counted(extent.all_looks, "look", "looks"),
            count(looks),
            counted(hours, "hour", "hours")
        ),
    };
    let over = last.duration_since(first).unwrap_or(Duration::ZERO);
    format!("{looks}; {} to {}, over {}", stamp(first), stamp(last), span(over))
}

fn file(HistoryFile { path, bytes }: &HistoryFile) -> String {
    format!("{} ({})", printable(&path.to_string_lossy()), size(*bytes))
}

fn size(bytes: u64) -> String {
    match bytes {
        small if small < 1 << 20 => format!("{} KiB", count(small.div_ceil(1 << 10))),
        large => format!("{:.1} MiB", large as f64 / f64::from(1 << 20)),
    }
}

fn stuck(Stuck { now, for_a_day }: Stuck) -> Option<String> {
    let day = match for_a_day {
        0 => String::new(),
        same => format!(", {} of them the same for a day and more", count(same)),
    };
    (now > 0).then(|| format!("{} at the last look{day}", counted(now, "stuck socket", "stuck sockets")))
}
