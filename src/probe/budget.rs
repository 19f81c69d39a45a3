//! How much of what is everybody's a probe may take.
//!
//! A probe that is not isolated shares ports, open files and accept queues with the programs of the host. It takes a share
//! that leaves them enough, of what is left now, or nothing.

use rustix::process::{Resource, getrlimit};

use super::ProbeError;
use super::scenario::{End, Variant};
use super::sight::pool_to;
use crate::census::pools::bind_pool_for;
use crate::model::snapshot::Snapshot;
use crate::model::socket::{NetNsIndex, Queues};
use crate::model::state::TcpState;
use crate::model::tuple::Endpoint;
use crate::model::wording::count;

/// Of the ports that are left, the host keeps three quarters: from half on `connect()` slows down, and other programs may
/// want as many again meanwhile.
const SHARE_OF_PORTS: u64 = 4;
/// Of the open files that the host may still have, it keeps nine tenths: running out of them stops every program.
const SHARE_OF_FILES: u64 = 10;
/// Against a server on another host: enough to be seen, too few to harm it.
const MOST_REMOTE: u64 = 100;
/// Descriptors that a worker needs beside its connections.
const OTHER_DESCRIPTORS: u64 = 64;
/// A connection is two sockets while it lasts.
const FILES_EACH: u64 = 2;

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// So many connections.
    pub(super) count: u32,
    /// To this server.
    pub(super) server: std::net::SocketAddr,
    /// Which end keeps its half.
    pub(super) leaker: End,
    /// How.
    pub(super) variant: Variant,
    /// Whether the network namespace is the probe's own.
    pub(super) isolated: bool,
}

/// Descriptors that a worker can have for connections: the hard limit, which it raises its own to.
pub(super) fn connections_per_worker() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS)
}

/// Refuses a wish for more than may be had.
///
/// # Errors
/// [`ProbeError::Budget`] with the smallest of what may be had, and [`ProbeError::Look`] when that cannot be told.
pub(super) fn grant(snapshot: &Snapshot, wish: &Wish) -> Result<(), ProbeError> {
    let mut limits = vec![ports(snapshot, wish)?, descriptors(wish)];
    limits.extend(files(snapshot));
    limits.extend(accept_queue(snapshot, wish));
    if !wish.server.ip().is_loopback() {
        let reason = "which is the most against a server that is not on this host".to_owned();
        limits.push(Limit { allowed: MOST_REMOTE, reason, hint: "a smaller --count, or a server on loopback" });
    }
    let Some(least) = limits.into_iter().min_by_key(|limit| limit.allowed) else { return Ok(()) };
    if u64::from(wish.count) <= least.allowed {
        return Ok(());
    }
    let Limit { allowed, reason, hint } = least;
    Err(ProbeError::Budget { wanted: wish.count, allowed, reason, hint })
}

struct Limit {
    allowed: u64,
    reason: String,
    hint: &'static str,
}

fn ports(snapshot: &Snapshot, wish: &Wish) -> Result<Limit, ProbeError> {
    let unknown = || ProbeError::Look("how many ports are left is not known".to_owned());
    let left = u64::from(pool_to(snapshot, wish.server).ok_or_else(unknown)?.remaining_at_least);
    if wish.isolated {
        let reason = format!("as many as the namespace has ports to {}", wish.server);
        return Ok(Limit { allowed: left, reason, hint: "`closewatch probe exhaust` shows what happens at the end" });
    }
    // What is connected takes a port from who asks for any free one, too.
    let any = [0, 0, 0, 0].into();
    let for_bind = bind_pool_for(snapshot, NetNsIndex(0), any).map_or(left, |pool| pool.remaining_at_least.into());
    let left = left.min(for_bind);
    Ok(Limit {
        allowed: left / SHARE_OF_PORTS,
        reason: format!("a quarter of the {} ports that are left on this host", count(left)),
        hint: "a smaller --count, or --isolated: in a network namespace of its own the probe may take every port",
    })
}

fn descriptors(wish: &Wish) -> Limit {
    let each = connections_per_worker();
    // Clients are started as many as it takes; there is one server.
    let allowed = if wish.leaker == End::Server { each } else { u64::MAX };
    let reason = format!("what one server can hold with {} descriptors", count(each + OTHER_DESCRIPTORS));
    Limit { allowed, reason, hint: "raise the hard limit (ulimit -Hn), or ask for fewer" }
}

fn files(snapshot: &Snapshot) -> Option<Limit> {
    let files = snapshot.limits.files?;
    let left = files.limit.saturating_sub(files.used);
    Some(Limit {
        allowed: left / SHARE_OF_FILES / FILES_EACH,
        reason: format!("two files each, a tenth of the {} that the host may still open", count(left)),
        hint: "a smaller --count; fs.file-max is shared by all namespaces",
    })
}

/// What is not accepted waits in the queue of the listener, which must not be full: the kernel would let nobody in then.
fn accept_queue(snapshot: &Snapshot, wish: &Wish) -> Option<Limit> {
    if wish.variant != Variant::AcceptStalled {
        return None;
    }
    let server = Endpoint::new(wish.server.ip(), wish.server.port());
    let mut listeners = snapshot.sockets.iter().filter(|socket| socket.state == TcpState::Listen);
    let listener = listeners.find(|socket| socket.tuple.local == server)?;
    let Queues::Listen { limit: Some(limit), .. } = listener.queues else { return None };
    Some(Limit {
        allowed: limit.into(),
        reason: format!("the length of the accept queue (net.core.somaxconn is {})", count(limit.into())),
        hint: "a smaller --count, or a larger net.core.somaxconn",
    })
}
