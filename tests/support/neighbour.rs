//! A second network namespace, linked to that of the test.

use std::sync::mpsc;
use std::thread;

use closewatch::capture::netns::enter_netns_of;
use nix::sched::{CloneFlags, unshare};
use rustix::thread::gettid;

use super::run;

/// The address of the namespace of the test on the link between the two.
pub const HERE: &str = "10.9.0.1";
/// The address of the neighbour.
pub const THERE: &str = "10.9.0.2";

/// A network namespace that a thread of the test is in, and a link to it. It ends with the value, or with the last socket
/// that was opened there.
pub struct Neighbour {
    thread: u32,
    _stay: mpsc::Sender<()>,
}

impl Neighbour {
    /// Makes it; needs [`super::can_make_veth`].
    pub fn linked() -> Self {
        let (say, hear) = mpsc::channel();
        let (stay, end) = mpsc::channel::<()>();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace of its own");
            say.send(gettid().as_raw_nonzero().get()).expect("somebody waits");
            let _ = end.recv();
        });
        let thread = hear.recv().expect("it has a namespace").unsigned_abs();
        let neighbour = Self { thread, _stay: stay };
        run("ip", &["link", "add", "here0", "type", "veth", "peer", "name", "there0", "netns", &thread.to_string()]);
        run("ip", &["address", "add", &format!("{HERE}/24"), "dev", "here0"]);
        run("ip", &["link", "set", "here0", "up"]);
        neighbour.visit(|| {
            run("ip", &["link", "set", "lo", "up"]);
            run("ip", &["address", "add", &format!("{THERE}/24"), "dev", "there0"]);
            run("ip", &["link", "set", "there0", "up"]);
        });
        neighbour
    }

    /// Does something there. Sockets that it opens stay there.
    pub fn visit<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        enter_netns_of(self.thread, act).expect("who made it may enter it")
    }
}
