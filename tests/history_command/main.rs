//! `closewatch history`: what was remembered, as people and machines read it.

#![allow(unreachable_pub, reason = "`pub` here means: for the other files of this test")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/strict.rs"]
mod strict;

mod command;
mod machines;
mod recordings;
mod tables;
mod world;
