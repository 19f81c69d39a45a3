//! How many sockets were in each state over time.

use super::columns::{Sample, columns};
use super::times::label;
use crate::chronicle::Chronicle;
use crate::model::look::Look;
use crate::model::state::{StateCounts, TcpState};
use crate::model::wording::count;
use crate::render::table::grid::{Align, Column, Grid};
use crate::render::table::sheet::Sheet;
use crate::trend::forecast::unix_seconds;

/// What the columns beside the picture take.
const OTHERS: usize = 46;
/// The least and the greatest width of the picture.
const WIDTHS: (usize, usize) = (12, 96);
/// The heights of a picture of one row; the least is not blank, which means that nobody looked.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The sockets of all namespaces at the end of the look, by state.
pub(super) fn states_of(look: &Look) -> StateCounts {
    let mut sum = StateCounts::default();
    for (_, spreads) in &look.namespaces {
        for (state, spread) in TcpState::ALL.into_iter().zip(spreads) {
            sum[state] += spread.last;
        }
    }
    sum
}

/// Writes every state that some socket was in, and the stuck ones.
pub(super) fn write(chronicle: &Chronicle, sheet: &mut Sheet) {
    let looks = &chronicle.looks;
    let [first, .., last] = looks.as_slice() else { return };
    let times: Vec<f64> = looks.iter().map(|look| unix_seconds(look.ended)).collect();
    let states: Vec<StateCounts> = looks.iter().map(states_of).collect();
    let mut rows: Vec<(String, Vec<u64>)> = Vec::new();
    for state in TcpState::ALL {
        let counts: Vec<u64> = states.iter().map(|states| states[state]).collect();
        if counts.iter().any(|count| *count > 0) {
            rows.push((state.label().to_owned(), counts));
        }
    }
    if looks.iter().any(|look| look.n_stuck.most > 0) {
        rows.push(("stuck".to_owned(), looks.iter().map(|look| look.n_stuck.last).collect()));
    }
    let span = (unix_seconds(first.ended), unix_seconds(last.ended));
    if rows.is_empty() || span.0 >= span.1 {
        return;
    }
    let width = sheet.page().width.map_or(80, usize::from).saturating_sub(OTHERS).clamp(WIDTHS.0, WIDTHS.1);
    let mut grid = Grid::new(vec![
        Column::new("STATES", Align::Left, 0),
        Column::new("least", Align::Right, 1),
        Column::new("most", Align::Right, 1),
        Column::new("last", Align::Right, 0),
        Column::new("over time", Align::Left, 1),
    ]);
    for (name, counts) in rows {
        let samples: Vec<Sample> = times.iter().copied().zip(counts.iter().map(|count| *count as f64)).collect();
        let number = |number: Option<&u64>| number.map_or_else(String::new, |number| count(*number));
        grid.push(vec![
            format!("  {name}"),
            number(counts.iter().min()),
            number(counts.iter().max()),
            number(counts.last()),
            picture(&columns(&samples, span, width)),
        ]);
    }
    sheet.blank();
    sheet.grid(&grid, 0, "");
    let [from, to] = [span.0, span.1].map(|moment| label(moment, span.1 - span.0));
    sheet.sentence(2, &format!("(all namespaces, {from} to {to}; each row against its own highest)"));
}

/// Heights against the highest.
fn picture(columns: &[Option<f64>]) -> String {
    let highest = columns.iter().flatten().copied().fold(1.0, f64::max);
    let height = |value: f64| (value / highest * HEIGHTS.len() as f64).ceil().max(1.0) as usize - 1;
    columns.iter().map(|column| column.map_or(' ', |value| HEIGHTS[height(value).min(HEIGHTS.len() - 1)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_against_its_highest_and_blank_where_nobody_looked() {
        assert_eq!(picture(&[Some(0.0), Some(1.0), None, Some(50.0), Some(100.0)]), "▁▁ ▄█");
        assert_eq!(picture(&[Some(0.0), Some(0.0)]), "▁▁");
    }
}
