//! The report for people: what is wrong and what to do first, then the numbers.

mod coverage;
pub(super) mod findings;
pub(super) mod grid;
pub(super) mod growth;
mod listeners;
mod metrics;
mod namespaces;
mod pairs;
mod pools;
mod processes;
mod prose;
pub(super) mod sheet;
mod snat;
mod states;

use std::io::{self, Write};

use self::sheet::Sheet;
use super::{Detail, Page};
use crate::diagnosis::finding::Verdict;
use crate::report::Report;

/// Writes the report as text.
///
/// # Errors
/// Those of `out`.
pub(super) fn render(report: &Report<'_>, page: &Page, out: &mut impl Write) -> io::Result<()> {
    let mut sheet = Sheet::new(page);
    findings::write(report, &mut sheet);
    sheet.blank();
    metrics::write(report, &mut sheet);
    states::write_filter(report, &mut sheet);
    states::write_states(report, &mut sheet);
    if is_quiet(report, page) {
        processes::write_holders_of_close_wait(report, &mut sheet);
    } else {
        namespaces::write(report, &mut sheet);
        processes::write(report, &mut sheet);
        pools::write_destinations(report, &mut sheet);
        growth::write(report, &mut sheet);
        snat::write(report, &mut sheet);
        pairs::write(report, &mut sheet);
        states::write_process_ranges(report, &mut sheet);
        states::write_ranges(report, &mut sheet);
        listeners::write_listeners(report, &mut sheet);
        listeners::write_peers(report, &mut sheet);
        pools::write_bind_pools(report, &mut sheet);
        coverage::write_limits(report, &mut sheet);
    }
    coverage::write(report, &mut sheet);
    out.write_all(sheet.into_text().as_bytes())
}

/// Whether nobody needs the tables: nothing is wrong, and the reader asked for nothing in particular.
fn is_quiet(report: &Report<'_>, page: &Page) -> bool {
    let query = report.query;
    let asked = !query.selection.is_everything() || query.snat_limit.is_some();
    report.verdict == Verdict::Ok && page.detail == Detail::Brief && !asked
}
