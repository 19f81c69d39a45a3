//! The formats. A renderer knows the report and the page, and nothing of where either came from.

pub mod chronicle;
pub mod explain;
mod history;
mod json;
mod nagios;
pub mod schema;
mod table;
mod words;

use std::io::{self, Write};

use crate::report::Report;

/// A format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// `closewatch.report/1`.
    Json,
    /// For monitoring systems that run plugins: a line with numbers, and long output.
    Nagios,
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// With escape sequences.
    On,
    /// Plain text.
    Off,
}

/// How many rows and reasons to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The first rows, and how many more there are.
    Brief,
    /// All.
    Full,
}

/// What the report is printed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Columns; `None` for as wide as the tables are (sentences are wrapped all the same).
    pub width: Option<u16>,
    /// Colour.
    pub color: Color,
    /// Detail.
    pub detail: Detail,
}

/// Writes the report in one format.
///
/// # Errors
/// Those of `out`, and a time that no calendar has.
pub fn render(report: &Report<'_>, format: Format, page: &Page, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Table => table::render(report, page, out),
        Format::Json => json::render(report, out),
        Format::Nagios => nagios::render(report, page, out),
    }
}
