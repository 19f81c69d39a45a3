//! What the copies of this program do.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit of descriptors in the role `descriptors`.
pub const FEW_DESCRIPTORS: u64 = 100;

/// Plays a role; what it returns is held until the test ends it.
pub fn act(role: &str, argument: &str) -> Vec<OwnedFd> {
    match role {
        "connect" => connect(argument),
        "descriptors" => hold_descriptors(argument.parse().expect("a number")),
        "exhaust-descriptors" => exhaust_descriptors(),
        other => panic!("no such role: {other}"),
    }
}

/// Connects so many times to a server and holds the connections whatever becomes of them: `25 127.0.0.2:8086`.
fn connect(argument: &str) -> Vec<OwnedFd> {
    let (count, server) = argument.split_once(' ').expect("a count and a server");
    let count: usize = count.parse().expect("a number");
    (0..count).map(|_| TcpStream::connect(server).expect("connects").into()).collect()
}

fn limit_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW_DESCRIPTORS), maximum }).expect("a limit may be lowered");
}

fn n_descriptors() -> usize {
    // The one that reads the list is in it.
    std::fs::read_dir("/proc/self/fd").expect("our own").count() - 1
}

/// Listens until so many descriptors are open.
fn hold_descriptors(open: usize) -> Vec<OwnedFd> {
    limit_descriptors();
    let missing = open - n_descriptors();
    (0..missing).map(|_| TcpListener::bind("127.0.0.1:0").expect("listens").into()).collect()
}

/// Listens until the kernel says EMFILE.
fn exhaust_descriptors() -> Vec<OwnedFd> {
    limit_descriptors();
    let mut held = Vec::new();
    let error = loop {
        match TcpListener::bind("127.0.0.1:0") {
            Ok(listener) => held.push(listener.into()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
    held
}
