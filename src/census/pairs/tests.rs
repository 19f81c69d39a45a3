use super::{EndHolder, FinWaits, Pairs, find, has_closed};
use crate::attribution;
use crate::census::pools::tests::{host, socket};
use crate::census::{Direction, Query};
use crate::model::process::{Holding, Process, ProcessIndex, ProcessKey, Runtime};
use crate::model::selection::Selection;
use crate::model::snapshot::Snapshot;
use crate::model::socket::{Inode, NetNsIndex, SocketKind, SocketRecord};
use crate::model::state::TcpState::{self, CloseWait, Established, FinWait1, FinWait2, Listen};

const CLIENT: &str = "10.0.0.5:40000";
const SERVER: &str = "10.0.3.7:443";

fn at(netns: u32, state: TcpState, local: &str, remote: &str) -> SocketRecord {
    SocketRecord { netns: NetNsIndex(netns), ..socket(state, local, remote) }
}

/// The snapshot of these sockets in so many namespaces.
fn seen(namespaces: usize, sockets: Vec<SocketRecord>) -> Snapshot {
    let mut snapshot = host(sockets);
    snapshot.namespaces = vec![snapshot.namespaces[0].clone(); namespaces];
    snapshot
}

fn process(snapshot: &mut Snapshot, pid: u32, sockets: &[usize]) -> ProcessIndex {
    let index = ProcessIndex(u32::try_from(snapshot.processes.len()).expect("few"));
    snapshot.processes.push(Process {
        key: ProcessKey { pid, start_ticks: u64::from(pid) },
        name: format!("p{pid}"),
        started_at: None,
        exe: None,
        uid: None,
        user: None,
        placement: None,
        netns: None,
        fds_open: None,
        fds_limit: None,
        runtime: Runtime::Unknown,
    });
    for socket in sockets {
        let inode = Inode::new(100 + *socket as u64).expect("not 0");
        snapshot.sockets[*socket].inode = Some(inode);
        snapshot.holdings.push(Holding { inode, process: index, fd: 3 });
    }
    index
}

fn pairs_of(snapshot: &Snapshot, selection: Selection) -> Pairs {
    let query =
        Query { selection, port_ranges: Vec::new(), stuck_after: std::time::Duration::from_secs(60), snat_limit: None };
    find(snapshot, &attribution::join(snapshot), &query, snapshot.sockets.iter().any(has_closed))
}

fn pairs(snapshot: &Snapshot) -> Pairs {
    pairs_of(snapshot, Selection::default())
}

/// How many pairs, and how many that could not be told.
fn counts(namespaces: usize, sockets: Vec<SocketRecord>) -> (u64, u64) {
    let pairs = pairs(&seen(namespaces, sockets));
    (pairs.rows.iter().map(|row| row.count).sum(), pairs.ambiguous)
}

#[test]
fn a_client_that_does_not_close_and_the_server_that_has_are_a_pair_across_namespaces() {
    let mut snapshot = seen(
        2,
        vec![
            at(0, CloseWait, CLIENT, SERVER),
            at(1, FinWait2, SERVER, CLIENT),
            at(1, Listen, "0.0.0.0:443", "0.0.0.0:0"),
            at(0, Established, "10.0.0.5:40001", SERVER),
            at(1, Established, SERVER, "10.0.0.5:40001"),
        ],
    );
    let client = process(&mut snapshot, 7, &[0, 3]);
    let server = process(&mut snapshot, 12, &[2, 4]);
    let pairs = pairs(&snapshot);
    assert_eq!((pairs.rows.len(), pairs.ambiguous), (1, 0));
    let row = &pairs.rows[0];
    assert_eq!((row.kept.netns, row.kept.direction), (NetNsIndex(0), Direction::Outbound));
    assert_eq!((row.closed.netns, row.closed.direction), (NetNsIndex(1), Direction::Inbound));
    assert_eq!((row.kept.holder, row.closed.holder), (EndHolder::Held(client), EndHolder::Kernel(Some(server))));
    assert_eq!((row.client.to_string(), row.server.to_string()), ("10.0.0.5".to_owned(), SERVER.to_owned()));
    assert_eq!((row.count, row.waiting), (1, FinWaits { orphaned: 1, ..FinWaits::default() }));
    assert_eq!(row.peer_of_closed(), (row.client, 443));
}

#[test]
fn a_server_that_does_not_close_and_the_client_that_has_are_a_pair_on_loopback() {
    let (client, server) = ("127.0.0.1:40000", "127.0.0.2:443");
    let mut sockets = vec![
        at(0, CloseWait, server, client),
        at(0, FinWait2, client, server),
        at(0, Listen, "127.0.0.2:443", "0.0.0.0:0"),
    ];
    sockets[1].kind = SocketKind::TimeWait;
    let mut snapshot = seen(1, sockets);
    let forgetful = process(&mut snapshot, 12, &[0, 2]);
    let row = &pairs(&snapshot).rows[0];
    assert_eq!((row.kept.holder, row.closed.holder), (EndHolder::Held(forgetful), EndHolder::Kernel(None)));
    assert_eq!((row.kept.direction, row.closed.direction), (Direction::Inbound, Direction::Outbound));
    assert_eq!((row.server.to_string(), row.waiting.orphaned), (server.to_owned(), 1));
    assert_eq!(row.peer_of_closed(), (row.server.address, 443));
}

#[test]
fn each_way_to_wait_is_counted_and_the_oldest_holder_stands_for_all() {
    let ends = |nth: u16| (format!("10.0.0.5:{}", 40_000 + nth), SERVER);
    let mut sockets = Vec::new();
    for (nth, state) in [(0, FinWait1), (1, FinWait2), (2, FinWait2)] {
        let (client, server) = ends(nth);
        sockets.extend([at(0, CloseWait, &client, server), at(1, state, server, &client)]);
    }
    let mut snapshot = seen(2, sockets);
    let fork = process(&mut snapshot, 30, &[0, 2, 4]);
    let parent = process(&mut snapshot, 20, &[0, 2, 4]);
    let server = process(&mut snapshot, 12, &[3]);
    let rows = pairs(&snapshot).rows;
    assert!(rows.iter().all(|row| row.kept.holder == EndHolder::Held(parent)), "not {fork:?}: {rows:#?}");
    let kernel = rows.iter().find(|row| row.closed.holder == EndHolder::Kernel(None)).expect("two orphans");
    assert_eq!((kernel.count, kernel.waiting), (2, FinWaits { fin_wait1: 1, held: 0, orphaned: 1 }));
    let held = rows.iter().find(|row| row.closed.holder == EndHolder::Held(server)).expect("one is held");
    assert_eq!((held.count, held.waiting.held), (1, 1));
}

#[test]
fn what_has_no_other_end_here_is_no_pair() {
    assert_eq!(counts(1, vec![at(0, CloseWait, CLIENT, SERVER)]), (0, 0), "the peer is elsewhere, or was ended");
    let other_port = at(0, FinWait2, SERVER, "10.0.0.5:40001");
    assert_eq!(counts(1, vec![at(0, CloseWait, CLIENT, SERVER), other_port]), (0, 0));
    let open = at(0, Established, SERVER, CLIENT);
    assert_eq!(counts(1, vec![at(0, CloseWait, CLIENT, SERVER), open]), (0, 0), "its FIN was not sent yet");
    // The same way round: another connection, of a peer with mirrored ports.
    assert_eq!(counts(2, vec![at(0, CloseWait, CLIENT, SERVER), at(1, FinWait2, CLIENT, SERVER)]), (0, 0));
}

#[test]
fn loopback_ends_do_not_meet_across_namespaces() {
    let (client, server) = ("127.0.0.1:40000", "127.0.0.1:443");
    assert_eq!(counts(2, vec![at(0, CloseWait, client, server), at(1, FinWait2, server, client)]), (0, 0));
    // Each namespace has its own, with the same addresses.
    let both = |netns| [at(netns, CloseWait, client, server), at(netns, FinWait2, server, client)];
    assert_eq!(counts(3, [both(0), both(1), both(2)].concat()), (3, 0));
}

#[test]
fn containers_with_the_same_addresses_are_not_mixed_up() {
    let kept = |netns| at(netns, CloseWait, CLIENT, SERVER);
    let closed = |netns| at(netns, FinWait2, SERVER, CLIENT);
    // Two that fit one, one that fits two, two and two.
    assert_eq!(counts(3, vec![kept(0), kept(1), closed(2)]), (0, 2));
    assert_eq!(counts(3, vec![kept(0), closed(1), closed(2)]), (0, 1));
    assert_eq!(counts(4, vec![kept(0), kept(1), closed(2), closed(3)]), (0, 2));
    // A pair of one namespace leaves the others to each other.
    assert_eq!(counts(3, vec![kept(0), closed(0), kept(1), closed(2)]), (2, 0));
    assert_eq!(counts(2, vec![kept(0), closed(0), kept(1)]), (1, 0), "nobody is left for the second");
    // In one namespace the same addresses stand twice on different interfaces.
    assert_eq!(counts(1, vec![kept(0), closed(0), closed(0)]), (0, 1));
}

#[test]
fn mptcp_connections_have_two_ends_too() {
    let mut sockets = vec![at(0, Established, CLIENT, SERVER), at(1, Established, SERVER, CLIENT)];
    (sockets[0].mptcp, sockets[1].mptcp) = (Some(CloseWait), Some(FinWait2));
    assert_eq!(counts(2, sockets), (1, 0));
}

#[test]
fn a_filter_takes_a_pair_by_either_end() {
    let mut snapshot = seen(
        2,
        vec![
            at(0, CloseWait, CLIENT, SERVER),
            at(1, FinWait2, SERVER, CLIENT),
            at(0, CloseWait, "10.0.0.5:40001", SERVER),
            at(1, FinWait2, SERVER, "10.0.0.5:40001"),
        ],
    );
    process(&mut snapshot, 7, &[0]);
    process(&mut snapshot, 12, &[1]);
    process(&mut snapshot, 13, &[3]);
    let count = |pids: &[u32]| {
        let pairs = pairs_of(&snapshot, Selection { pids: pids.to_vec(), ..Selection::default() });
        pairs.rows.iter().map(|row| row.count).sum::<u64>()
    };
    assert_eq!((count(&[7]), count(&[12]), count(&[13]), count(&[99]), count(&[])), (1, 1, 1, 0, 2));
}

#[test]
fn what_waits_to_be_accepted_belongs_to_the_listener() {
    let mut snapshot = seen(
        1,
        vec![
            at(0, CloseWait, SERVER, CLIENT),
            at(0, FinWait2, CLIENT, SERVER),
            at(0, Listen, "0.0.0.0:443", "0.0.0.0:0"),
        ],
    );
    let server = process(&mut snapshot, 12, &[2]);
    assert_eq!(pairs(&snapshot).rows[0].kept.holder, EndHolder::NotAccepted(Some(server)));
    // Nobody may see who listens.
    snapshot.holdings.clear();
    assert_eq!(pairs(&snapshot).rows[0].kept.holder, EndHolder::NotAccepted(None));
}
