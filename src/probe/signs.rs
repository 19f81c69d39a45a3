//! What an operator should see of a leak that is held, in each tool that shows it.

use super::isolation::Isolation;
use super::scenario::{End, Variant};
use crate::diagnosis::policy::Policy;
use crate::model::tuple::Endpoint;
use crate::model::wording::{count, span};

/// A leak that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leak {
    /// How many connections.
    pub(super) count: u32,
    /// Between whom: the server's end.
    pub(super) server: Endpoint,
    /// Who keeps its half.
    pub(super) leaker: End,
    /// How.
    pub(super) variant: Variant,
    /// The namespace of its own that it is in.
    pub(super) isolation: Option<Isolation>,
    /// The processes that hold it, and how many sockets each.
    pub(super) holders: Vec<(u32, u32)>,
}

/// So many holders are named.
const NAMED: usize = 4;

/// The lines to tell.
pub(super) fn of(leak: &Leak) -> Vec<String> {
    let mut lines: Vec<String> = leak.holders.iter().take(NAMED).map(|holder| held_by(leak, *holder)).collect();
    let Some((pid, _)) = leak.holders.first() else { return lines };
    let inside = inside(leak, *pid);
    lines.push("what you should see now:".to_owned());
    let stuck_after = span(Policy::default().stuck_after);
    let seen = match leak.variant {
        Variant::AcceptStalled => format!("{} in CLOSE-WAIT that nobody accepted", count(leak.count.into())),
        _ => format!("{} in CLOSE-WAIT; a leak when they are {stuck_after} old", count(leak.count.into())),
    };
    let (filter, side) = match leak.leaker {
        End::Client => ("--peer", "dst"),
        End::Server => ("--local", "src"),
    };
    lines.push(format!("  {inside}closewatch --netns current {filter} {}", leak.server));
    lines.push(format!("      {seen}"));
    lines.push(format!("  {inside}ss -tanp state close-wait {side} {}", leak.server));
    lines.push(format!("      {} lines", count(leak.count.into())));
    if leak.isolation.is_none() {
        lines.push(format!("  zabbix_get -s 127.0.0.1 -k '{}'", zabbix_key(leak)));
        lines.push(format!("      {}, where a Zabbix agent runs", leak.count));
    }
    if leak.variant == Variant::Keepalive {
        lines.push(
            "  a minute after the peer closed (tcp_fin_timeout) a keepalive probe is answered by a reset: ghosts then, \
             which ss does not show"
                .to_owned(),
        );
    }
    lines
}

fn held_by(leak: &Leak, (pid, sockets): (u32, u32)) -> String {
    match leak.variant {
        Variant::AcceptStalled => format!("  pid {pid} listens, and does not accept {}", count(sockets.into())),
        _ => format!("  pid {pid} holds {}", count(sockets.into())),
    }
}

/// What to write before a command so that it runs in the namespace of the leak; empty in that of the host.
fn inside(leak: &Leak, pid: u32) -> String {
    match leak.isolation {
        None => String::new(),
        Some(Isolation::Network) => format!("nsenter --net --target {pid} "),
        Some(Isolation::UserAndNetwork) => {
            format!("nsenter --user --net --preserve-credentials --target {pid} ")
        }
    }
}

/// Zabbix's own item, by local and remote end.
fn zabbix_key(leak: &Leak) -> String {
    let Endpoint { address, port } = leak.server;
    match leak.leaker {
        End::Client => format!("net.tcp.socket.count[,,{address},{port},close_wait]"),
        End::Server => format!("net.tcp.socket.count[{address},{port},,,close_wait]"),
    }
}
