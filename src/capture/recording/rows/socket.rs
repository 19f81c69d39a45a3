//! The row of a socket.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{endpoint, socket_addr};
use crate::model::socket::{
    CgroupId, Clocks, Inode, NetNsIndex, PortBinding, Queues, SockCookie, SocketKind, SocketRecord, Timer,
};
use crate::model::state::TcpState;
use crate::model::tuple::{Family, FourTuple};

/// A [`SocketRecord`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SocketRow {
    netns: u32,
    state: StateToken,
    #[serde(with = "KindMirror")]
    kind: SocketKind,
    #[serde(with = "FamilyMirror")]
    family: Family,
    local: SocketAddr,
    remote: SocketAddr,
    interface: u32,
    cookie: Option<u64>,
    inode: Option<u64>,
    uid: Option<u32>,
    cgroup: Option<u64>,
    #[serde(with = "QueuesMirror")]
    queues: Queues,
    #[serde(with = "TimerMirror")]
    timer: Timer,
    #[serde(with = "BindingMirror")]
    binding: PortBinding,
    v6only: Option<bool>,
    clocks: Option<ClocksRow>,
    mptcp: Option<StateToken>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct StateToken(#[serde(with = "StateMirror")] TcpState);

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct ClocksRow(#[serde(with = "ClocksMirror")] Clocks);

impl SocketRow {
    pub(crate) fn of(socket: &SocketRecord) -> Self {
        let SocketRecord {
            netns,
            state,
            kind,
            family,
            tuple: FourTuple { local, remote },
            interface,
            cookie,
            inode,
            uid,
            cgroup,
            queues,
            timer,
            binding,
            v6only,
            clocks,
            mptcp,
        } = *socket;
        Self {
            netns: netns.0,
            state: StateToken(state),
            kind,
            family,
            local: socket_addr(local),
            remote: socket_addr(remote),
            interface,
            cookie: cookie.map(|cookie| cookie.get()),
            inode: inode.map(|inode| inode.get()),
            uid,
            cgroup: cgroup.map(|cgroup| cgroup.get()),
            queues,
            timer,
            binding,
            v6only,
            clocks: clocks.map(ClocksRow),
            mptcp: mptcp.map(StateToken),
        }
    }

    /// `None` when it stands in a namespace that is not among so many, or has a number 0 that means none.
    pub(crate) fn read(self, namespaces: usize) -> Option<SocketRecord> {
        if self.netns as usize >= namespaces || [self.cookie, self.inode, self.cgroup].contains(&Some(0)) {
            return None;
        }
        Some(SocketRecord {
            netns: NetNsIndex(self.netns),
            state: self.state.0,
            kind: self.kind,
            family: self.family,
            tuple: FourTuple { local: endpoint(self.local), remote: endpoint(self.remote) },
            interface: self.interface,
            cookie: self.cookie.and_then(SockCookie::new),
            inode: self.inode.and_then(Inode::new),
            uid: self.uid,
            cgroup: self.cgroup.and_then(CgroupId::new),
            queues: self.queues,
            timer: self.timer,
            binding: self.binding,
            v6only: self.v6only,
            clocks: self.clocks.map(|clocks| clocks.0),
            mptcp: self.mptcp.map(|state| state.0),
        })
    }
}

/// Mirrors [`TcpState`]; the words are its tokens.
#[derive(Serialize, Deserialize)]
#[serde(remote = "TcpState", rename_all = "snake_case")]
enum StateMirror {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    BoundInactive,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SocketKind", rename_all = "snake_case")]
enum KindMirror {
    Full,
    TimeWait,
    Request,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Family", rename_all = "snake_case")]
enum FamilyMirror {
    V4,
    V6,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Queues", rename_all = "snake_case", deny_unknown_fields)]
enum QueuesMirror {
    Data { recv: u32, send: u32 },
    Listen { waiting: u32, limit: Option<u32> },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Timer", rename_all = "snake_case")]
enum TimerMirror {
    Off,
    Retransmit(u32),
    KeepAlive(u32),
    TimeWait(u32),
    Probe(u32),
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PortBinding", rename_all = "snake_case")]
enum BindingMirror {
    Auto,
    Explicit,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Clocks", deny_unknown_fields)]
struct ClocksMirror {
    last_data_sent_ms: u32,
    last_data_recv_ms: u32,
    last_ack_recv_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_as_their_tokens() {
        for state in TcpState::ALL {
            let text = serde_json::to_string(&StateToken(state)).expect("a word");
            assert_eq!(text, format!("\"{}\"", state.token()));
        }
    }
}
