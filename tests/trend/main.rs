//! A thousand months of looks at services that leak and services that do not: what is said of them, when, and how right it is.
//!
//! `cargo test --test trend -- --nocapture` prints the figures.
#![expect(clippy::print_stdout, reason = "the figures are meant to be read")]

mod figures;
mod healthy;
mod leaks;
mod seconds;
mod world;

/// Every run has a seed of its own, the same each time.
const RUNS: u64 = 1000;
