//! What is remembered, in each format. A renderer knows the chronicle and the page, and nothing of where either came from.

mod columns;
mod csv;
mod json;
mod plot;
mod states;
mod table;
mod times;

use std::io::{self, Write};

use super::Page;
use crate::chronicle::Chronicle;

/// A format of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: table and plots.
    Table,
    /// `closewatch.history/1`.
    Json,
    /// For spreadsheets: one row for each number of each look.
    Csv,
}

/// Writes the chronicle in one format.
///
/// # Errors
/// Those of `out`, and a time that no calendar has.
pub fn render(chronicle: &Chronicle, format: Format, page: &Page, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Table => table::render(chronicle, page, out),
        Format::Json => json::render(chronicle, out),
        Format::Csv => csv::render(chronicle, out),
    }
}
