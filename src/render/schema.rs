//! The JSON Schema of the JSON report.

/// JSON Schema (draft 2020-12) of `closewatch.report/1`, as text.
pub const REPORT: &str = include_str!("report.schema.json");
