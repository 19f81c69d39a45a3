//! What can be typed behind `history`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ColorArg;

/// The options of `history`.
#[derive(Debug, Args)]
pub struct PastArgs {
    /// The history to show [default: /var/lib/closewatch/history.db for root, else ~/.local/state/closewatch/history.db]
    #[arg(long, value_name = "FILE", help_heading = "What to show")]
    pub history: Option<PathBuf>,
    /// Show only what was seen since: so long ago (3d, 12h), or a moment in UTC (2026-02-14, 2026-02-14T06:00)
    ///
    /// Growth is judged by all that is remembered, whatever is shown.
    #[arg(long, value_name = "DURATION|TIME", help_heading = "What to show")]
    pub since: Option<String>,
    /// Build a history of recordings of one host, and of all recordings in a folder, in the order of their time
    ///
    /// With --history they are added to that file, behind what it has, and none a second time; without, nothing is kept.
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., help_heading = "What to show")]
    pub from: Vec<PathBuf>,

    /// How to print it [default: table]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub format: Option<PastFormatArg>,
    /// The same as --format json
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Write to FILE instead of standard output, whole or not at all
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub color: ColorArg,
    /// Show every row and draw every plot, also of what is gone
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,
}

/// Formats of the history, as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PastFormatArg {
    /// For people
    Table,
    /// For machines: closewatch.history/1
    Json,
    /// For spreadsheets: a row for each number of each look
    Csv,
}
