//! A look that takes long, so that time limits can be made to fall into it on any machine.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use super::service::Service;
use super::{raise_descriptor_limit, wait_until};

/// Processes with so many descriptors of few sockets that the tables are soon read and the holders are not found for long.
pub struct Crowd {
    _copies: Vec<OwnedFd>,
    _holders: Vec<Service>,
}

impl Crowd {
    /// Starts it: its processes hold these sockets.
    pub fn of(sockets: &[TcpStream]) -> Self {
        raise_descriptor_limit();
        // What is copied so is handed down to children.
        let copies = (0..3_000).map(|nth| rustix::io::dup(&sockets[nth % sockets.len()]).expect("dup")).collect();
        let sleep = |_| Service::start(Command::new("sleep").arg("300").stdout(Stdio::null()));
        Self { _copies: copies, _holders: (0..50).map(sleep).collect() }
    }
}

/// What a time limit did to a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing: it was enough.
    No,
    /// It fell into the look, which had seen something.
    Short,
    /// There was no time left to tell what was seen, or nothing was.
    TooShort,
}

/// What was told at a limit, in milliseconds, that falls into the look. How long the look takes is known afterwards only: the
/// limit is lowered from one that is enough until it is not, and raised in smaller steps where that was too much.
pub fn cut_short<T>(mut look: impl FnMut(u32) -> (Cut, T)) -> T {
    let mut limit = 6_000;
    let mut told = None;
    wait_until("a limit that the look reaches and the check keeps", || {
        let (cut, seen) = look(limit);
        limit = if cut == Cut::No { limit * 2 / 3 } else { limit * 5 / 4 }.max(1);
        told = (cut == Cut::Short).then_some(seen);
        told.is_some()
    });
    told.expect("it was waited for")
}
