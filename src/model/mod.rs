//! The vocabulary: what a socket, a process, a port range and a snapshot are.
//!
//! Floor 0. Nothing here opens a file, reads a clock or knows another module of the crate; every type is an
//! observation or a request, never a conclusion, and what could not be observed is a [`snapshot::Gap`].

pub(crate) mod gate;
pub mod ghost;
pub mod look;
pub mod numbers;
pub mod past;
pub mod points;
pub mod ports;
pub mod process;
pub mod selection;
pub mod snapshot;
pub mod socket;
pub mod standing;
pub mod state;
pub mod stuck_since;
pub mod text;
pub mod tuple;
pub mod wording;
