//! Both ends of real connections, in two namespaces that are linked.

mod support;

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use closewatch::capture::live::LiveHost;
use closewatch::capture::{Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource};
use closewatch::census::pairs::{EndHolder, PairCensus, PairEnd};
use closewatch::census::{Direction, Query};
use closewatch::diagnosis::finding::Rule;
use closewatch::diagnosis::policy::Policy;
use closewatch::model::past::Past;
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::Snapshot;
use closewatch::model::socket::NetNsIndex;
use closewatch::report;
use support::neighbour::{HERE, Neighbour, THERE};
use support::{can_make_veth, in_netns, listen, skip, wait_until};

const OURS: NetNsIndex = NetNsIndex(0);
const THEIRS: NetNsIndex = NetNsIndex(1);

fn look() -> Snapshot {
    let request = Request {
        netns: NetNsChoice::Current,
        selection: Selection::default(),
        processes: ProcessChoice::Attribute,
        port_probe: PortProbeChoice::Bounds,
        deadline: Deadline::never(),
    };
    LiveHost.take(&request).expect("our own namespace")
}

/// One snapshot of both namespaces. The processes are those of the whole host in either.
fn look_at_both(neighbour: &Neighbour) -> Snapshot {
    let mut both = look();
    let mut theirs = neighbour.visit(look);
    both.namespaces.append(&mut theirs.namespaces);
    both.sockets.extend(theirs.sockets.into_iter().map(|mut socket| {
        socket.netns = THEIRS;
        socket
    }));
    let me = std::process::id();
    let inherited = theirs.holdings.into_iter().filter(|held| theirs.processes[held.process.0 as usize].key.pid == me);
    let mine = both.processes.iter().position(|process| process.key.pid == me).expect("we hold sockets");
    both.holdings.extend(inherited.map(|mut held| {
        held.process.0 = mine as u32;
        held
    }));
    both
}

fn end(netns: NetNsIndex, direction: Direction, holder: EndHolder) -> PairEnd {
    PairEnd { netns, direction, holder }
}

/// Connects so many times, and returns the ends of the clients and of the server.
fn connections(listener: &TcpListener, count: usize, connect: impl Fn() -> TcpStream) -> Vec<(TcpStream, TcpStream)> {
    (0..count).map(|_| (connect(), listener.accept().expect("accepts").0)).collect()
}

#[test]
fn who_closed_and_who_did_not_are_joined_across_namespaces() {
    let test = "who_closed_and_who_did_not_are_joined_across_namespaces";
    if !can_make_veth() {
        return skip(test, "needs a veth pair");
    }
    in_netns(test, || {
        let neighbour = Neighbour::linked();
        let our_server = listen(&format!("{HERE}:8000"));
        let their_server = neighbour.visit(|| listen(&format!("{THERE}:443")));
        // Ours leaks to their server, which closed; ours leaks at its server, where their clients shut their side down.
        let dial_out = || TcpStream::connect((THERE, 443)).expect("connects");
        let leaked: Vec<_> = connections(&their_server, 30, dial_out).into_iter().map(|(client, _)| client).collect();
        let dial_in = || neighbour.visit(|| TcpStream::connect((HERE, 8000)).expect("connects"));
        let half_open = connections(&our_server, 7, dial_in);
        for (client, _) in &half_open {
            client.shutdown(std::net::Shutdown::Write).expect("connected");
        }
        let query = Query {
            selection: Selection::default(),
            port_ranges: Vec::new(),
            stuck_after: Duration::ZERO,
            snat_limit: None,
        };
        let policy = Policy { stuck_after: Duration::ZERO, ..Policy::default() };
        wait_until("every FIN to be acknowledged", || {
            let snapshot = look_at_both(&neighbour);
            let rows = report::build(&snapshot, &query, &Past::default(), &policy).census.pairs.rows;
            rows.iter().map(|row| row.waiting.orphaned + row.waiting.held).sum::<u64>() == 37
        });
        let snapshot = look_at_both(&neighbour);
        let past = Past::default();
        let report = report::build(&snapshot, &query, &past, &policy);
        let me = report.census.processes.first().expect("we hold sockets").process;
        let [out, inward]: &[PairCensus; 2] = report.census.pairs.rows.as_slice().try_into().expect("two kinds");
        assert_eq!(out.kept, end(OURS, Direction::Outbound, EndHolder::Held(me)));
        assert_eq!(out.closed, end(THEIRS, Direction::Inbound, EndHolder::Kernel(Some(me))));
        assert_eq!((out.count, out.waiting.orphaned, out.server.to_string()), (30, 30, format!("{THERE}:443")));
        assert_eq!(inward.kept, end(OURS, Direction::Inbound, EndHolder::Held(me)));
        assert_eq!(inward.closed, end(THEIRS, Direction::Outbound, EndHolder::Held(me)));
        assert_eq!((inward.count, inward.waiting.held, inward.client.to_string()), (7, 7, THERE.to_owned()));
        assert_eq!(report.census.pairs.ambiguous, 0);
        let leak = report.findings.iter().find(|found| found.rule == Rule::CloseWaitLeak).expect("a leak");
        let told = leak.details.iter().find(|detail| detail.contains("The other end")).expect("it is here");
        assert!(
            told.starts_with("The other end of 30 of them is on this host in namespace current, in FIN-WAIT-2"),
            "{told}"
        );
        assert!(told.ends_with("Other programs here closed 7 more."), "{told}");
        drop(leaked);
    });
}
