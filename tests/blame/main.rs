//! Who is blamed, and who is not: real sockets in every condition that a rule is about, and in those that look like it.
//!
//! Each test is alone in a namespace of its own. Where it matters whose sockets they are, a copy of this program holds
//! them ([`support::player`]).

#![allow(unreachable_pub, reason = "`pub` here means: for the other files of this test")]

#[path = "../support/mod.rs"]
mod support;

mod innocent;
mod leaks;
mod limits;
mod peers;
mod roles;
mod stage;

/// What the copies of this program do. In the test run itself this does nothing.
#[test]
fn a_player_plays_its_role() {
    support::player::play(roles::act);
}
