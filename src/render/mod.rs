//! The formats. A renderer knows the report and the page, and nothing of where either came from.

pub mod chronicle;
pub mod doctor;
pub mod explain;
mod history;
mod influx;
mod json;
mod nagios;
mod prometheus;
mod roster;
pub mod schema;
mod table;
mod words;
mod zabbix;

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
    /// For Prometheus: a text exposition of gauges.
    Prometheus,
    /// For Telegraf: the line protocol of InfluxDB.
    Influx,
    /// `closewatch.zabbix/1`.
    Zabbix,
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
        Format::Prometheus => prometheus::render(report, out),
        Format::Influx => influx::render(report, out),
        Format::Zabbix => zabbix::render(report, out),
    }
}

/// What a format says in place of a report that there is none, for formats whose reader hears nothing else. `why` is one line,
/// safe to print.
#[must_use]
pub fn failure(format: Format, why: &str) -> Option<String> {
    match format {
        Format::Prometheus => Some(prometheus::failure()),
        Format::Zabbix => Some(zabbix::failure(why)),
        Format::Table | Format::Json | Format::Nagios | Format::Influx => None,
    }
}
