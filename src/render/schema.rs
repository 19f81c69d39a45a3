//! The JSON Schemas of the JSON documents.

/// JSON Schema (draft 2020-12) of `closewatch.report/1`, as text.
pub const REPORT: &str = include_str!("report.schema.json");

/// JSON Schema (draft 2020-12) of `closewatch.history/1`, as text.
pub const HISTORY: &str = include_str!("history.schema.json");
