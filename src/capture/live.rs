//! The running host: every reader of this floor put together into one [`Snapshot`].
//!
//! The descriptors of all processes are collected on threads of their own while the tables are dumped: neither needs
//! the other until they are joined.

use std::collections::BTreeMap;
use std::thread;
use std::time::SystemTime;

use super::cgroup_tree;
use super::collection::Collection;
use super::everywhere;
use super::gap_folding::fold_all;
use super::ghosts::{self, Field, FirstLook};
use super::netlink;
use super::netns_choice::{look_at_one, own_place, place_named, place_of_process};
use super::place::Place;
use super::procfs::{self, Links, Scan};
use super::sysctl::gap;
use super::view::View;
use super::workers::processors;
use super::{
    CaptureError, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource, counters, port_probe, privilege,
};
use crate::attribution::NumberSet;
use crate::census::pools;
use crate::model::ghost::GhostScan;
use crate::model::process::Holding;
use crate::model::selection::Selection;
use crate::model::snapshot::{Cgroup, Gap, Hides, Host, ProcessScan, Snapshot, SourceKind};

/// The host that this program runs on.
#[derive(Debug, Clone, Copy)]
pub struct LiveHost;

impl SnapshotSource for LiveHost {
    fn take(&self, request: &Request) -> Result<Snapshot, CaptureError> {
        privilege::raised(|| take_raised(request))
    }
}

/// The look, with all rights that there are.
fn take_raised(request: &Request) -> Result<Snapshot, CaptureError> {
    let taken_at = SystemTime::now();
    let mut gaps = Vec::new();
    let host = counters::read_host(&mut gaps);
    let (mut view, links) = look(request)?;
    let limits = view.settle();
    gaps.append(&mut view.gaps);
    let wanted = NumberSet::of(&view.inodes);
    let (scan, ghosts) = match links {
        Some(links) => describe(links, (&view, &wanted), taken_at, &host, request),
        None => {
            (Scan { processes: Vec::new(), holdings: Vec::new(), gaps: Vec::new(), extent: ProcessScan::Skipped }, None)
        }
    };
    gaps.extend(scan.gaps);
    let cgroups = match scan.extent {
        ProcessScan::All => find_cgroups((&view, &wanted), &scan.holdings, request, &mut gaps),
        ProcessScan::Selected | ProcessScan::Skipped => Vec::new(),
    };
    let mut snapshot = Snapshot {
        taken_at,
        host,
        source: view.namespaces.first().map_or(SourceKind::Netlink, |first| first.source),
        namespaces: std::mem::take(&mut view.namespaces),
        sockets: std::mem::take(&mut view.sockets),
        processes: scan.processes,
        holdings: scan.holdings,
        scan: scan.extent,
        limits,
        gaps,
        file: None,
        ghosts,
        cgroups,
    };
    if request.port_probe == PortProbeChoice::Exact {
        settle_doubts(&mut snapshot, &view.places, request);
    }
    Ok(snapshot)
}

/// Looks at the namespaces that were asked for, and collects descriptors.
fn look(request: &Request) -> Result<(View, Option<Links>), CaptureError> {
    let place = match &request.netns {
        NetNsChoice::All => {
            let (first_round, links) = while_collecting(request, || everywhere::begin(request));
            let fds = links.as_ref().map_or(&[][..], |links| &links.namespaces);
            let view = everywhere::finish(first_round, fds, request)?;
            return Ok((view, links));
        }
        NetNsChoice::Current => own_place(),
        NetNsChoice::Pid(pid) => place_of_process(*pid)?,
        NetNsChoice::Name(name) => place_named(name, request.deadline)?,
    };
    let (view, links) = while_collecting(request, || look_at_one(place, request));
    Ok((view?, links))
}

/// Looks while another thread collects descriptors, where one can be had: a host that leaks may be out of threads too. Whoever
/// has looked helps.
fn while_collecting<T>(request: &Request, look: impl FnOnce() -> T) -> (T, Option<Links>) {
    if request.processes == ProcessChoice::Skip {
        return (look(), None);
    }
    let collection = Collection::new(&request.selection, request.deadline);
    let n_walkers = netlink::n_walkers(true);
    let n_others = processors().saturating_sub(n_walkers).max(1);
    let seen = thread::scope(|scope| {
        let collect = || collection.begin(n_others);
        let collector = thread::Builder::new().name("descriptors".to_owned()).spawn_scoped(scope, collect);
        let seen = look();
        match collector {
            Ok(_) => collection.help(n_walkers),
            Err(_) => collection.begin(processors()),
        }
        seen
    });
    (seen, Some(collection.finish()))
}

/// What is known of the holders, and the ghosts among their descriptors.
fn describe(
    links: Links,
    (view, wanted): (&View, &NumberSet),
    taken_at: SystemTime,
    host: &Host,
    request: &Request,
) -> (Scan, Option<GhostScan>) {
    let booted_at = host.uptime.and_then(|uptime| taken_at.checked_sub(uptime));
    let Selection { states, local, peer, .. } = &request.selection;
    let one = match (&request.netns, view.namespaces.as_slice()) {
        (NetNsChoice::All, _) => None,
        (_, namespaces) => namespaces.first().and_then(|namespace| namespace.id.inode),
    };
    let field = Field {
        sockets: &view.sockets,
        inodes: wanted,
        filtered: states.is_some() || !local.is_everything() || !peer.is_everything(),
        only_netns: one,
        deadline: request.deadline,
    };
    let first_look = ghosts::look(&links, &field);
    let holders = first_look.as_ref().map(FirstLook::holders).unwrap_or_default();
    let mut scan = procfs::describe_with(links, wanted, &holders, booted_at, request.deadline);
    let ghosts = first_look.map(|look| look.look_again(&scan.processes));
    let (ghosts, gaps) = ghosts.map_or((None, Vec::new()), |(ghosts, gaps)| (Some(ghosts), gaps));
    scan.gaps.extend(gaps);
    (scan, ghosts)
}

/// The cgroups of the sockets that nobody was seen to hold. Where every socket has its holder, and on a host without cgroups,
/// nothing is read.
fn find_cgroups(
    (view, wanted): (&View, &NumberSet),
    holdings: &[Holding],
    request: &Request,
    gaps: &mut Vec<Gap>,
) -> Vec<Cgroup> {
    let placed = || view.sockets.iter().filter(|socket| cgroup_tree::may_name_a_unit(socket));
    if placed().next().is_none() {
        return Vec::new();
    }
    let held: NumberSet = holdings.iter().map(|holding| holding.inode.get()).collect();
    // Only sockets that were wanted are held.
    if held.len() == wanted.len() {
        return Vec::new();
    }
    let ownerless = placed().filter(|socket| socket.inode.is_some_and(|inode| !held.contains(inode.get())));
    let mut cgroups = BTreeMap::new();
    for cgroup in ownerless.filter_map(|socket| socket.cgroup) {
        *cgroups.entry(cgroup).or_default() += 1;
    }
    cgroup_tree::find(cgroups, request.deadline, gaps)
}

/// Asks the kernel about the ports that the dumps leave in doubt, in the namespace of each. One that is read from outside
/// has no doubts: its range is not known.
fn settle_doubts(snapshot: &mut Snapshot, places: &[Place], request: &Request) {
    let doubtful = pools::doubtful_ports(snapshot);
    let mut gaps = Vec::new();
    for (nth, place) in places.iter().enumerate() {
        let of_this: Vec<_> = doubtful.iter().filter(|port| port.netns.0 as usize == nth).copied().collect();
        if of_this.is_empty() {
            gaps.push(Vec::new());
            continue;
        }
        gaps.push(match place.visit(|| port_probe::ask(&of_this, request.deadline)) {
            Ok((answers, gaps)) => {
                snapshot.namespaces[nth].answers = answers;
                gaps
            }
            Err(closed) => {
                let count = of_this.len() as u64;
                let what = format!("whether {count} ports in doubt can be had");
                vec![Gap { count, ..gap(what, closed.why(), Hides::Ports) }]
            }
        });
    }
    snapshot.gaps.extend(fold_all(&snapshot.namespaces, gaps));
}
