//! The TCP tables of a namespace that holds few sockets, or none, in as few walks as can be.
//!
//! All namespaces share one table of connections, so that a walk costs what all sockets of the host cost, however few are
//! asked for: 12 to 14 ms for an empty namespace beside 120,000 sockets of others. What a walk can be spared by is
//! `/proc/net/sockstat`, which counts the sockets of one namespace that stand in that table or listen
//! (`sock_prot_inuse_add` in `inet_ehash_nolisten` and `__inet_hash`, kernel `net/ipv4/inet_hashtables.c`), and TIME-WAIT
//! apart. It counts neither sockets that are only bound, whose table is read therefore, nor handshakes of which a listener
//! knows; where there is no listener any more, these end within a second.

use std::collections::HashMap;
use std::io;

use super::dump::Walk;
use super::inet_diag::Extensions;
use super::netlink::{Asked, Extras, NAMED_OR_NOT, Table, finish, is_handed_out, read_explicit, read_mptcp};
use super::shares::NOT_CONNECTED;
use crate::model::snapshot::SockStat;
use crate::model::socket::SocketKind;
use crate::model::state::StateMask;

/// Up to so many sockets, one walk on one processor is over before a second thread has begun.
const FEW: u64 = 1_000;

/// Whether the namespace holds few sockets.
pub(super) fn are_few(sockstat: &SockStat) -> bool {
    sockstat.inuse.saturating_add(sockstat.tw) <= FEW
}

/// Reads the tables of the network namespace that the calling thread is in, and that holds few sockets by this count.
/// `has_mptcp` is `None` when that is not known. What it returns is what [`super::netlink::read_tables`] does.
///
/// # Errors
/// As for [`super::netlink::read_tables`].
pub(super) fn read_few(asked: &Asked<'_>, sockstat: &SockStat, has_mptcp: Option<bool>) -> io::Result<Table> {
    let nobody_is_connected = sockstat.inuse == 0 && sockstat.tw == 0;
    let states = if nobody_is_connected { NOT_CONNECTED } else { StateMask::ALL };
    let found = asked.walker()?.dump_tcp(&Walk { states, extensions: Extensions::Info }, None)?;
    let may_be_explicit = found
        .rows
        .iter()
        .any(|row| row.kind == SocketKind::Full && NAMED_OR_NOT.has(row.state) && is_handed_out(row, asked));
    let extras = Extras {
        explicit: may_be_explicit.then(|| read_explicit(asked, NAMED_OR_NOT)),
        mptcp: if has_mptcp == Some(false) { Ok(HashMap::new()) } else { read_mptcp(asked) },
    };
    let cookies: Vec<u64> = found.rows.iter().filter_map(|row| row.cookie).map(|cookie| cookie.get()).collect();
    Ok(finish(found, &[cookies], &extras, asked))
}
