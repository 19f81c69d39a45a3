//! Prediction comes true: for each set-up the ports left are predicted from one look at the sockets, and then the calls
//! are really made until the kernel has no port left.
//!
//! What is observed always lies between the two bounds, and where the bounds meet it is predicted to the port. With the
//! kernel asked (`--exact`) they meet in every case, but for the one port that an odd range hides.

#![allow(unreachable_pub, reason = "`pub` here means: for the other files of this test")]

#[path = "../support/mod.rs"]
mod support;

mod asking;
mod bind_zero;
mod cases;
mod forecast;
mod known;
mod random;
mod time_wait;
mod world;
