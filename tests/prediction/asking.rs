//! What happens where the kernel may not be asked.

use std::time::Duration;

use closewatch::capture::Deadline;
use closewatch::capture::port_probe::ask;
use closewatch::census::pools::doubtful_ports;
use closewatch::model::snapshot::{Hides, PortAnswers};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::cases::{RANGE, a};
use crate::forecast::take_snapshot;
use crate::support::{in_netns, set_sysctl};
use crate::world::{End, in_world};

#[test]
fn without_the_capability_there_are_no_answers_and_one_gap() {
    in_netns("asking::without_the_capability_there_are_no_answers_and_one_gap", || {
        in_world(|world| {
            set_sysctl(RANGE, "40000 40099");
            world.leave_all(30, a(), End::CloseWait);
            let doubtful = doubtful_ports(&take_snapshot());
            assert_eq!(doubtful.len(), 30);
            let mut sets = capabilities(None).expect("one's own");
            sets.effective.remove(CapabilitySet::NET_ADMIN);
            set_capabilities(None, sets).expect("fewer are allowed");
            let (answers, gaps) = ask(&doubtful, Deadline::never());
            assert_eq!(answers, PortAnswers::default());
            let told: Vec<_> = gaps.iter().map(|gap| (gap.count, gap.hides, gap.why.as_str())).collect();
            assert_eq!(told, [(30, Hides::Ports, "TCP_REPAIR: operation not permitted; needs CAP_NET_ADMIN")]);
        });
    });
}

#[test]
fn past_the_deadline_nothing_is_asked() {
    in_netns("asking::past_the_deadline_nothing_is_asked", || {
        in_world(|world| {
            set_sysctl(RANGE, "40000 40099");
            world.leave_all(30, a(), End::CloseWait);
            let doubtful = doubtful_ports(&take_snapshot());
            let (answers, gaps) = ask(&doubtful, Deadline::after(Duration::ZERO));
            assert_eq!(answers, PortAnswers::default());
            assert_eq!((gaps.len(), gaps[0].count), (1, 30), "{gaps:?}");
        });
    });
}

/// The sockets that ask are silent and leave nothing behind.
#[test]
fn asking_sends_nothing_and_leaves_nothing() {
    in_netns("asking::asking_sends_nothing_and_leaves_nothing", || {
        in_world(|world| {
            set_sysctl(RANGE, "40000 40099");
            world.leave_all(30, a(), End::CloseWait);
            world.settle(0);
            let before = take_snapshot();
            let segments = out_segments();
            let (answers, gaps) = ask(&doubtful_ports(&before), Deadline::never());
            assert_eq!((answers.shared.len(), gaps), (30, Vec::new()));
            assert_eq!(out_segments(), segments);
            let cookies = |sockets: &[closewatch::model::socket::SocketRecord]| {
                let mut cookies: Vec<_> = sockets.iter().map(|socket| socket.cookie).collect();
                cookies.sort_unstable();
                cookies
            };
            assert_eq!(cookies(&take_snapshot().sockets), cookies(&before.sockets));
        });
    });
}

/// TCP segments that this namespace has sent: the column `OutSegs` of `/proc/net/snmp`.
fn out_segments() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("is there");
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let column = names.split(' ').position(|name| name == "OutSegs").expect("a column");
    values.split(' ').nth(column).expect("a value").parse().expect("a number")
}
