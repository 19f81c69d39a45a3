//! The sentences about a CLOSE-WAIT leak.

use super::{Blame, CLOSE_NOTIFY_BYTES, Suspect};
use crate::census::{CloseWaitCensus, Direction};
use crate::diagnosis::finding::{Remedy, Severity, When};
use crate::diagnosis::fix::{self, Omission};
use crate::diagnosis::other_end;
use crate::diagnosis::owner::Owner;
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, ports_share};
use crate::model::process::ProcessIndex;
use crate::model::process::Runtime;
use crate::model::socket::Inode;
use crate::model::state::TcpState;
use crate::model::wording::{age, count, counted, span};

pub(super) fn summary(suspect: &Suspect<'_>, severity: Severity) -> String {
    let held = suspect.held;
    let since = match held.oldest {
        Some(oldest) => format!("the oldest {}", age(oldest.at_least, oldest.at_most, oldest.exact)),
        None => "how old they are is not known".to_owned(),
    };
    let sockets = counted(held.count, "socket", "sockets");
    let whole = format!("{} {sockets} in CLOSE-WAIT {}", suspect.owner.holds(suspect.scene), peers(suspect));
    let place = suspect.scene.place(suspect.netns);
    match severity {
        Severity::Info => format!("{whole}{place}, {since}: it looks like an idle pool whose peers hung up"),
        Severity::Unknown => {
            format!("{whole}{place}: a leak, or a burst that drains; without their ages it cannot be told")
        }
        Severity::Warning | Severity::Critical => format!("{whole}{place}, {since}"),
    }
}

/// `to 10.0.3.7:8086 and 2 more destinations`, or `on port 8080 from 10.0.3.7 and 4 more addresses`.
fn peers(suspect: &Suspect<'_>) -> String {
    if suspect.goes_out() {
        let Some((first, _)) = suspect.outbound.first() else { return "with peers that are not known".to_owned() };
        let others = suspect.outbound.len() - 1;
        return format!("to {first}{}", remedy::and_more(others, "destination", "destinations"));
    }
    let mut addresses: Vec<_> = suspect.held.destinations.iter().map(|(peer, _)| peer.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let Some((first, _)) = suspect.held.destinations.first() else { return "with peers that are not known".to_owned() };
    let port = incoming_port(suspect).map_or_else(String::new, |port| format!("on port {port} "));
    let others = addresses.len().saturating_sub(1);
    format!("{port}from {}{}", first.address, remedy::and_more(others, "address", "addresses"))
}

/// The port here that most of the process's incoming connections with such a peer came to.
fn incoming_port(suspect: &Suspect<'_>) -> Option<u16> {
    let Owner::Process(process) = suspect.owner else { return None };
    let incoming = suspect.scene.census.peers.iter().filter(|peer| {
        peer.netns == suspect.netns
            && peer.direction == Direction::Inbound
            && peer.states[TcpState::CloseWait] > 0
            && peer.holders.iter().any(|(holder, _)| *holder == process)
    });
    incoming.max_by_key(|peer| peer.states[TcpState::CloseWait]).map(|peer| peer.port)
}

pub(super) fn details(suspect: &Suspect<'_>, blame: Blame) -> Vec<String> {
    let held = suspect.held;
    let stuck_after = span(suspect.scene.policy.stuck_after);
    let mut details = vec![kind(suspect)];
    if held.unread_least == held.unread_most && CLOSE_NOTIFY_BYTES.contains(&held.unread_least) {
        details.push(format!(
            "{} bytes are the close_notify of a TLS peer: these connections were TLS, and nobody looked at them after it",
            held.unread_least
        ));
    }
    if blame.perhaps > blame.surely {
        details.push(format!(
            "{} surely older than {stuck_after}, {} perhaps: answers to keepalive probes or later writes hide the age.",
            count(blame.surely),
            count(blame.perhaps - blame.surely)
        ));
    }
    if held.age_unknown > 0 {
        details.push(format!("{} without an age: the source has no clocks for them.", count(held.age_unknown)));
    }
    if held.keepalive > 0 {
        details.push(format!(
            "Keepalive runs on {}: once the peer is gone they leave every socket table and stay descriptors.",
            count(held.keepalive)
        ));
    }
    if held.mptcp > 0 {
        details.push(format!("{} are MPTCP connections, whose subflows ss -t shows as ESTAB.", count(held.mptcp)));
    }
    if let Owner::Process(process) = suspect.owner {
        let sharers = n_sharers(suspect.scene, process);
        if sharers > 0 {
            details.push(format!(
                "{} some of these sockets too, inherited from it: each must close its own descriptor.",
                counted(sharers, "more process holds", "more processes hold")
            ));
        }
    }
    details.extend(other_end::who_closed(suspect.scene, suspect.owner, suspect.netns));
    details.extend(suspect.owner.why_unknown().map(str::to_owned));
    details
}

/// What the receive queues tell (kernel net/ipv4/tcp_diag.c: a FIN that was not read counts one byte).
fn kind(suspect: &Suspect<'_>) -> String {
    let held = suspect.held;
    let who = suspect.owner.who(suspect.scene);
    let fin_only = held.eof_unread - held.with_unread_bytes.min(held.eof_unread);
    let kinds = [held.eof_read, held.with_unread_bytes, fin_only].into_iter().filter(|kind| *kind > 0).count();
    let out = suspect.goes_out();
    if kinds > 1 {
        return format!(
            "The peer closed. Of the {} sockets {} hold data nobody read, on {} only the end of file was not read, and {} \
             were read to the end and not closed.",
            count(held.count),
            count(held.with_unread_bytes),
            count(fin_only),
            count(held.eof_read)
        );
    }
    if held.eof_read > 0 {
        return format!("The peer closed; {who} read everything there was, and did not call close().");
    }
    let unread = unread_bytes(held);
    match (held.with_unread_bytes > 0, out) {
        (true, true) => {
            format!("The peer closed; {who} never read the end of file: response bodies are not closed ({unread}).")
        }
        (true, false) => format!("The peer closed; {who} stopped reading before the end of file ({unread})."),
        (false, true) => format!(
            "The peer closed; {who} never read the end of file: connections were put aside and not closed (only the FIN is \
             unread on each)."
        ),
        (false, false) => format!(
            "The peer closed; {who} does not look at these connections any more (only the FIN is unread on each): it is \
             blocked, or has forgotten them."
        ),
    }
}

fn unread_bytes(held: &CloseWaitCensus) -> String {
    if held.unread_least == held.unread_most && held.unread_most > 0 {
        return format!("{} unread on each", counted(held.unread_most, "byte", "bytes"));
    }
    let mean = held.unread_bytes / held.with_unread_bytes.max(1);
    format!("{} unread on average", counted(mean, "byte", "bytes"))
}

/// How many other processes hold a CLOSE-WAIT of this one too.
fn n_sharers(scene: &Scene<'_>, process: ProcessIndex) -> u64 {
    if scene.census.processes.iter().all(|other| other.close_wait.inherited == 0) {
        return 0;
    }
    let held = scene.snapshot.holdings.iter().filter(|holding| holding.process == process);
    let mut inodes: Vec<Inode> = held.map(|holding| holding.inode).collect();
    inodes.sort_unstable();
    let close_wait = scene.snapshot.sockets.iter().filter(|socket| socket.is_close_wait());
    let mut shared: Vec<Inode> =
        close_wait.filter_map(|socket| socket.inode).filter(|inode| inodes.binary_search(inode).is_ok()).collect();
    shared.sort_unstable();
    let others = scene.snapshot.holdings.iter().filter(|holding| holding.process != process);
    let mut sharers: Vec<ProcessIndex> =
        others.filter(|holding| shared.binary_search(&holding.inode).is_ok()).map(|holding| holding.process).collect();
    sharers.sort_unstable();
    sharers.dedup();
    sharers.len() as u64
}

/// What to do at once, and how the program is mended.
pub(super) fn remedies(suspect: &Suspect<'_>) -> Vec<Remedy> {
    let mut remedies = vec![suspect.owner.restart(suspect.scene)];
    remedies.extend(full_destination(suspect));
    remedies.push(fix::of(suspect.owner.runtime(suspect.scene), omission(suspect)));
    remedies
}

/// The sockets hold ports that are short: they can be had back without a restart.
fn full_destination(suspect: &Suspect<'_>) -> Option<Remedy> {
    let scene = suspect.scene;
    let (destination, _) = suspect.outbound.first()?;
    let pools = scene.census.port_pools.iter().filter(|pool| pool.netns == suspect.netns);
    let mut to_it = pools.filter(|pool| pool.destination == *destination);
    let short = to_it.any(|pool| scene.policy.ports.grade(ports_share(pool.used, pool.usable)).is_some());
    short.then(|| remedy::destroy_close_wait(scene, suspect.netns, destination))
}

/// A library that asked may have read a response to its end, FIN and all, that its user never closed: small ones in Go and
/// Python, all in Node.js.
fn omission(suspect: &Suspect<'_>) -> Omission {
    let by_library = !matches!(suspect.owner.runtime(suspect.scene), Runtime::Native | Runtime::Unknown);
    if suspect.held.eof_read * 2 > suspect.held.count && !(suspect.goes_out() && by_library) {
        Omission::Close
    } else if suspect.goes_out() {
        Omission::Response
    } else {
        Omission::Read
    }
}

/// What people try against it in vain.
pub(super) fn will_not_help(suspect: &Suspect<'_>) -> Vec<String> {
    let mut sentences = remedy::no_cure_for_close_wait();
    if suspect.goes_out() {
        sentences.push(remedy::wider_range_only_delays(suspect.scene, suspect.netns));
    }
    sentences
}

/// Why so many stuck sockets are no leak.
pub(super) fn idle_pool_details() -> Vec<String> {
    vec![
        "Few for each destination, and nothing was read on any since the peer ended it: a pool notices that only when it \
         takes the connection out again. It is a leak if the number grows."
            .to_owned(),
    ]
}

/// How a pool gets rid of them.
pub(super) fn idle_pool_remedy() -> Remedy {
    Remedy::new(When::Fix, "give the pool an idle timeout that is shorter than the peer's")
}
