//! closewatch: who leaks TCP sockets on this host, since when, to whom, how many ports are left, and what to do.
//!
//! # The map
//! | floor | modules | what lives there |
//! |---|---|---|
//! | 5 | `main` | arguments in, exit status out |
//! | 4 | [`cli`] | one arm per command; what was typed becomes what is meant |
//! | 3 | [`capture`], [`history`], [`probe`], [`exec`], [`render`], [`integrate`] | the edges: reading the kernel, remembering, making the leak on purpose, watching a command, writing for readers, configuration for schedulers and monitoring; they never meet each other |
//! | 2 | [`report`], [`chronicle`] | `build()`, the pure core on one screen: of one look, and of all that is remembered |
//! | 1 | [`attribution`], [`census`], [`trend`], [`diagnosis`] | pure; each may use those to its left |
//! | 0 | [`model`] | the vocabulary, `std` only |
//!
//! # The invariants
//! - A floor uses only floors below it; `tests/house.rs` reads the sources and holds this true.
//! - Floors 0 to 2 never open a file, read a clock, print, or return `Result`.
//! - There is no async, no global state, and one reading of the clock per snapshot.
//! - What could not be read is a [`model::snapshot::Gap`], never a default.
//! - `unsafe` stands only in the files of [`capture`] that talk to the kernel.
//! - Capabilities are in effect only while the host is looked at: files that the caller names are opened with the caller's rights.
//! - Nothing that is observed is changed; [`probe`] makes sockets of its own, within a budget or a namespace of its own.
//! - `--exact` asks the kernel for ports with sockets of its own and gives them back.

pub mod attribution;
pub mod capture;
pub mod census;
pub mod chronicle;
pub mod cli;
pub mod diagnosis;
pub mod exec;
pub mod history;
pub mod integrate;
pub mod model;
pub mod probe;
pub mod render;
pub mod report;
pub mod trend;
