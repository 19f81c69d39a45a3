//! The running host: every reader of this floor put together into one [`Snapshot`].
//!
//! The descriptors of all processes are collected on threads of their own while the tables are dumped: neither needs
//! the other until they are joined.

use std::collections::HashSet;
use std::io;
use std::thread;
use std::time::{Instant, SystemTime};

use super::ghosts::{self, Field, FirstLook};
use super::netlink::{self, Asked};
use super::procfs::{self, Links, Scan};
use super::{
    CaptureError, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource, counters, netns, port_probe,
    proc_net, sysctl,
};
use crate::census::pools;
use crate::model::ghost::GhostScan;
use crate::model::selection::Selection;
use crate::model::snapshot::{Gap, Hides, Host, HostLimits, Namespace, PortAnswers, ProcessScan, Snapshot, SourceKind};
use crate::model::socket::{Inode, NetNsIndex, SocketRecord};

/// The host that this program runs on.
#[derive(Debug, Clone, Copy)]
pub struct LiveHost;

impl SnapshotSource for LiveHost {
    fn take(&self, request: &Request) -> Result<Snapshot, CaptureError> {
        let taken_at = SystemTime::now();
        let mut gaps = Vec::new();
        let host = counters::read_host(&mut gaps);
        let (seen, links) = look_and_collect(request);
        let seen = seen??;
        let (scan, ghosts) = match links {
            Some(links) => describe(links, &seen, taken_at, &host, request),
            None => (
                Scan { processes: Vec::new(), holdings: Vec::new(), gaps: Vec::new(), extent: ProcessScan::Skipped },
                None,
            ),
        };
        gaps.extend(seen.gaps);
        gaps.extend(scan.gaps);
        let mut snapshot = Snapshot {
            taken_at,
            host,
            source: seen.source,
            namespaces: vec![seen.namespace],
            sockets: seen.sockets,
            processes: scan.processes,
            holdings: scan.holdings,
            scan: scan.extent,
            limits: seen.limits,
            gaps,
            file: None,
            ghosts,
        };
        if request.port_probe == PortProbeChoice::Exact {
            settle_doubts(&mut snapshot, request)?;
        }
        Ok(snapshot)
    }
}

/// What one namespace showed.
struct Seen {
    namespace: Namespace,
    sockets: Vec<SocketRecord>,
    source: SourceKind,
    limits: HostLimits,
    gaps: Vec<Gap>,
}

type Entered<T> = Result<T, CaptureError>;

/// Looks at the namespace and collects descriptors, side by side where a thread can be had: a host that leaks may be out
/// of threads too.
fn look_and_collect(request: &Request) -> (Entered<Entered<Seen>>, Option<Links>) {
    let look = || within(&request.netns, || look_here(request));
    let collect = || procfs::scan_descriptors(&request.selection, request.deadline);
    if request.processes == ProcessChoice::Skip {
        return (look(), None);
    }
    thread::scope(|scope| match thread::Builder::new().name("descriptors".to_owned()).spawn_scoped(scope, collect) {
        Ok(collector) => {
            let seen = look();
            (seen, Some(collector.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        }
        Err(_) => (look(), Some(collect())),
    })
}

/// Runs `look` in the namespace that was asked for.
fn within<T: Send>(netns: &NetNsChoice, look: impl FnOnce() -> T + Send) -> Entered<T> {
    match netns {
        NetNsChoice::Current => Ok(look()),
        NetNsChoice::Pid(pid) => netns::enter_netns_of(*pid, look),
    }
}

/// Reads the calling thread's namespace: its rules first, since they tell which rows matter, then its tables.
fn look_here(request: &Request) -> Entered<Seen> {
    let begin = Instant::now();
    let mut gaps = Vec::new();
    let id = netns::read_netns_id(&request.netns, &mut gaps);
    let ports = sysctl::read_port_settings(&mut gaps);
    let sockstat = counters::read_sockstat(&mut gaps);
    let tcp_counters = counters::read_tcp_counters(&mut gaps);
    let conntrack = counters::read_conntrack(&mut gaps);
    let limits = counters::read_host_limits(sockstat, &mut gaps);
    let asked = Asked {
        netns: NetNsIndex(0),
        selection: &request.selection,
        tcp_info: request.tcp_info,
        ephemeral: ports.range,
        deadline: request.deadline,
    };
    let (sockets, source) = read_tables(&asked, &mut gaps)?;
    let namespace = Namespace {
        id,
        ports,
        sockstat,
        counters: tcp_counters,
        conntrack,
        answers: PortAnswers::default(),
        took: begin.elapsed(),
    };
    Ok(Seen { namespace, sockets, source, limits, gaps })
}

/// The sockets by netlink, or, when it yields nothing usable, by the text of `/proc/net`: never both, never half of one.
fn read_tables(asked: &Asked<'_>, gaps: &mut Vec<Gap>) -> Entered<(Vec<SocketRecord>, SourceKind)> {
    let netlink = match netlink::read_tables(asked) {
        Ok(table) => {
            gaps.extend(table.gaps);
            return Ok((table.sockets, SourceKind::Netlink));
        }
        Err(error) => error,
    };
    if asked.deadline.has_passed() {
        let text = io::Error::new(io::ErrorKind::TimedOut, "no time left to read it");
        return Err(CaptureError::NoTable { netlink, text });
    }
    match proc_net::read_proc_net(asked.netns) {
        Ok(table) => {
            let what = "the tables of sock_diag; the text of /proc/net/tcp was read instead";
            gaps.push(sysctl::gap(what, sysctl::reason(&netlink), Hides::Ports));
            gaps.extend(table.gaps);
            Ok((table.sockets, SourceKind::ProcText))
        }
        Err(text) => Err(CaptureError::NoTable { netlink, text }),
    }
}

/// What is known of the holders, and the ghosts among their descriptors.
fn describe(
    links: Links,
    seen: &Seen,
    taken_at: SystemTime,
    host: &Host,
    request: &Request,
) -> (Scan, Option<GhostScan>) {
    let wanted: HashSet<Inode> = seen.sockets.iter().filter_map(|socket| socket.inode).collect();
    let booted_at = host.uptime.and_then(|uptime| taken_at.checked_sub(uptime));
    let Selection { states, local, peer, .. } = &request.selection;
    let field = Field {
        sockets: &seen.sockets,
        inodes: &wanted,
        filtered: states.is_some() || !local.is_everything() || !peer.is_everything(),
        only_netns: seen.namespace.id.inode,
        deadline: request.deadline,
    };
    let first_look = ghosts::look(&links, &field);
    let holders = first_look.as_ref().map(FirstLook::holders).unwrap_or_default();
    let mut scan = procfs::describe_with(links, &wanted, &holders, booted_at, request.deadline);
    let ghosts = first_look.map(|look| look.look_again(&scan.processes));
    let (ghosts, gaps) = ghosts.map_or((None, Vec::new()), |(ghosts, gaps)| (Some(ghosts), gaps));
    scan.gaps.extend(gaps);
    (scan, ghosts)
}

/// Asks the kernel about the ports that the dump leaves in doubt.
fn settle_doubts(snapshot: &mut Snapshot, request: &Request) -> Result<(), CaptureError> {
    let doubtful = pools::doubtful_ports(snapshot);
    let (answers, gaps) = within(&request.netns, || port_probe::ask(&doubtful, request.deadline))?;
    if let Some(namespace) = snapshot.namespaces.first_mut() {
        namespace.answers = answers;
    }
    snapshot.gaps.extend(gaps);
    Ok(())
}
