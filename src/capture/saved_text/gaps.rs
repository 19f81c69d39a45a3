//! What a saved text does not tell.

use super::assemble::Assembled;
use super::scan::Scan;
use crate::capture::sysctl::gap;
use crate::model::snapshot::{Gap, Hides, SourceKind};
use crate::model::socket::{Queues, SocketKind, SocketRecord};
use crate::model::state::TcpState;
use crate::model::tuple::Family;

/// Which ports the operator said are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeTold {
    Yes,
    No,
}

/// The gaps of a text as such: lines that were not understood, lines that are missing, tables that overlap.
pub(super) fn of_text(scan: Scan<'_>, doubles: u64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    gaps.extend(scan.bad.into_gap("lines of the text"));
    if let Some(line) = scan.open_end {
        let what = format!("what followed line {line}, the last of the text, and perhaps its end");
        gaps.push(gap(what, "no line end follows it: the text may be cut", Hides::Sockets));
    }
    let partial: Vec<&str> = scan
        .tables
        .iter()
        .filter_map(|table| table.command.as_ref().filter(|command| command.is_partial))
        .map(|command| command.text.as_str())
        .collect();
    if let [first, ..] = partial.as_slice() {
        let why = format!("the command asked for a part of them: {first}");
        gaps.push(Gap { count: partial.len() as u64, ..gap("sockets that were not asked for", why, Hides::Sockets) });
    }
    if doubles > 0 {
        let why = "the text holds more than one look: of a socket the last row counts, and some of the others may have been \
                   gone by then";
        let what = "which sockets there were at one moment";
        gaps.push(Gap { count: doubles, ..gap(what, why, Hides::Sockets) });
    }
    gaps
}

/// What no table of sockets tells, whatever printed it.
pub(super) fn of_every_table(sockets: &[SocketRecord], range: RangeTold) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let is_listener = |socket: &SocketRecord| socket.state == TcpState::Listen;
    if !sockets.iter().any(is_listener) {
        let why = "the text shows none; ss shows them with -a";
        gaps.push(gap("listening sockets, and so which connections came in", why, Hides::Sockets));
    }
    let (what, why) = match range {
        RangeTold::No => (
            "the ephemeral port range and the other settings of ports",
            "a table of sockets does not tell them; --ephemeral-range FIRST-LAST gives the range",
        ),
        RangeTold::Yes => (
            "the reserved ports (none are assumed) and the reuse of TIME-WAIT",
            "a table of sockets does not tell them, and --ephemeral-range gives the range alone",
        ),
    };
    gaps.push(gap(what, why, Hides::Ports));
    let why = "a table of sockets does not tell them";
    gaps.push(gap("the counters and limits of the host", why, Hides::Limits));
    gaps
}

/// What this text of `ss` or `netstat` does not tell of its sockets.
pub(super) fn of_rows(made: &Assembled, source: SourceKind) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut push = |count: u64, what: &str, why: &str, hides: Hides| {
        if count > 0 {
            gaps.push(Gap { count, ..gap(what, why, hides) });
        }
    };
    let count =
        |takes: &dyn Fn(&SocketRecord) -> bool| made.sockets.iter().filter(|socket| takes(socket)).count() as u64;
    let is_bound = |socket: &SocketRecord| matches!(socket.state, TcpState::Listen | TcpState::BoundInactive);
    push(
        count(&|socket| lacks_age(socket)),
        "for how long sockets wait in CLOSE-WAIT or with unread data",
        "the text has no clocks for them; ss shows them with -i",
        Hides::Ages,
    );
    push(
        u64::from(!made.sockets.iter().any(|socket| socket.state == TcpState::BoundInactive)),
        "sockets that are bound to a port and neither connected nor listening",
        "ss shows them since iproute2 6.8 only, netstat never",
        Hides::Ports,
    );
    push(
        count(&|socket| socket.kind == SocketKind::Full && !is_bound(socket)),
        "whether the program or the kernel chose the local ports",
        "the text does not tell; sock_diag netlink does",
        Hides::Ports,
    );
    push(
        count(&|socket| is_bound(socket) && socket.family == Family::V6 && socket.v6only.is_none()),
        "whether IPv6 listeners take the ports of IPv4 too",
        "the text does not tell; ss does with -e",
        Hides::Ports,
    );
    push(
        made.any_family,
        "whether `*` is the wildcard of IPv4 or that of IPv6, which is assumed",
        "it was the one until iproute2 4.12 and is the other since, and no address in the text tells which",
        Hides::Ports,
    );
    push(
        made.named_ports,
        "the numbers of ports that were printed as names, which are taken from the usual list of services",
        "ss and netstat print numbers with -n only",
        Hides::Ports,
    );
    push(
        count(&|socket| matches!(socket.queues, Queues::Listen { limit: None, .. })),
        "the limits of accept queues",
        "netstat and /proc/net/tcp do not tell them; ss does by netlink",
        Hides::Limits,
    );
    gaps.extend(of_owners(made, source));
    gaps.extend(of_sockets(made));
    gaps
}

/// Whether an age is needed and there is none.
fn lacks_age(socket: &SocketRecord) -> bool {
    let unread = socket.state == TcpState::Established && socket.unread() > 0;
    socket.clocks.is_none() && (socket.is_close_wait() || unread)
}

fn of_owners(made: &Assembled, source: SourceKind) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut push = |count: u64, what: &str, why: &str| {
        if count > 0 {
            gaps.push(Gap { count, ..gap(what, why, Hides::Owners) });
        }
    };
    let held = made.sockets.iter().filter(|socket| socket.inode.is_some()).count() as u64;
    if made.shows_users {
        let why = "the text names none for them: they were hidden from the user who made it, or the sockets wait for accept(), \
                   which ss tells with -e (ino:0)";
        push(made.holders_hidden, "the processes that hold sockets", why);
    } else {
        push(held, "the processes that hold sockets", "the text names none; ss names them with -p, as root");
    }
    let why = match made.shows_cgroups {
        true => "the text names pid and name alone; units and containers are those of the cgroups of sockets",
        false => "the text names pid and name alone",
    };
    push(made.processes.len() as u64, "start, program, user and limit of descriptors of processes", why);
    if source == SourceKind::NetstatText {
        let why = "netstat names one of them";
        push(made.holdings.len() as u64, "processes that share a socket with the one that is named", why);
    }
    if let Some(why) = &made.first_unread {
        push(made.unread_details, "details of rows", why);
    }
    gaps
}

fn of_sockets(made: &Assembled) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if made.perhaps_udp > 0 {
        let why = "no column, command or state tells whether they are of TCP or of UDP; ss -t shows TCP alone";
        gaps.push(Gap { count: made.perhaps_udp, ..gap("rows that may be of UDP", why, Hides::Sockets) });
    }
    if made.lone_mptcp > 0 {
        let why = "the text does not tell their inodes; ss does with -e";
        let what = "the subflows of MPTCP connections in CLOSE-WAIT";
        gaps.push(Gap { count: made.lone_mptcp, ..gap(what, why, Hides::Sockets) });
    }
    if made.perhaps_subflows > 0 {
        let what = "MPTCP connections in CLOSE-WAIT, which are shown as ESTAB";
        gaps.push(gap(
            what,
            "the text does not tell; ss shows them with -M, and their subflows with -i",
            Hides::Sockets,
        ));
    }
    if !made.interfaces.is_empty() {
        let stand_ins: Vec<String> =
            made.interfaces.iter().map(|(name, number)| format!("{number} stands for {name}")).collect();
        let what = format!("the numbers of interfaces ({})", stand_ins.join(", "));
        let why = "the text names them";
        gaps.push(Gap { count: stand_ins.len() as u64, ..gap(what, why, Hides::Ports) });
    }
    gaps
}
