//! What the connections from here take of a NAT's ports.

use std::collections::BTreeSet;

use super::grid::{Align, Column, Grid};
use super::pools::holders;
use super::sheet::{Sheet, rows_shown};
use super::states::{in_words, mostly};
use crate::census::snat::SnatBudget;
use crate::model::wording::{count, counted, percent};
use crate::render::words::share_of;
use crate::report::Report;

/// Writes the budgets, fullest first, when one was asked for.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let Some(limit) = report.query.snat_limit else { return };
    let budgets = &report.census.snat;
    if budgets.is_empty() {
        sheet.statements("SNAT BUDGET", &["no connection from here goes to another host".to_owned()]);
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("SNAT BUDGET", Align::Left, 0),
        Column::new("used of limit", Align::Right, 0),
        Column::new("share", Align::Right, 2),
        Column::new("left", Align::Right, 0),
        Column::new("mostly", Align::Left, 1),
        Column::new("from", Align::Left, 3),
        Column::new("by state", Align::Left, 5),
        Column::new("holders", Align::Left, 4),
    ]);
    let shown = rows_shown(sheet.page(), budgets.len());
    for budget in &budgets[..shown] {
        grid.push(vec![
            format!("  {}", budget.destination),
            format!("{} of {}", count(budget.used), count(limit.into())),
            percent(share_of(budget.used, limit.into())),
            count(budget.remaining()),
            mostly(report, &budget.states, &budget.holders),
            sources(budget),
            in_words(&budget.states).join(", "),
            holders(report, &budget.holders),
        ]);
    }
    let rest = budgets[shown..].first().map(|budget| share_of(budget.used, limit.into()));
    let rest = rest.map_or_else(String::new, |share| format!("the fullest {} used", percent(share)));
    sheet.grid(&grid, budgets.len() - shown, &rest);
    sheet.sentence(2, "a NAT keeps mappings for a time after connections end here: fewer may be left");
}

/// `10.0.0.5`, or `3 addresses in 2 namespaces`.
fn sources(budget: &SnatBudget) -> String {
    if let [((_, address), _)] = budget.sources[..] {
        return address.to_string();
    }
    let namespaces: BTreeSet<_> = budget.sources.iter().map(|((netns, _), _)| *netns).collect();
    let addresses = counted(budget.sources.len() as u64, "address", "addresses");
    match namespaces.len() {
        1 => addresses,
        several => format!("{addresses} in {several} namespaces"),
    }
}
