//! The rows of saved tables, before they become sockets: what the text told, and what it did not.

use super::command::Command;
use super::endpoint::Place;
use super::ss::Header;
use super::users::User;
use crate::model::socket::{Clocks, Timer};
use crate::model::state::TcpState;
use crate::model::tuple::Family;

/// One socket as a line of `ss` or `netstat` told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The number of its line, from 1.
    pub(super) line: u64,
    pub(super) state: TcpState,
    /// The family where a column of its own tells it (`tcp6` of netstat).
    pub(super) family: Option<Family>,
    pub(super) local: Place,
    pub(super) remote: Place,
    pub(super) recv: u32,
    pub(super) send: u32,
    pub(super) details: Details,
}

/// What stands behind the addresses. `None` is what the text does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Details {
    pub(super) users: Vec<User>,
    /// 0 when no file stands for the socket.
    pub(super) inode: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) cookie: Option<u64>,
    /// The path of the cgroup it was created in.
    pub(super) cgroup: Option<String>,
    pub(super) v6only: Option<bool>,
    pub(super) timer: Option<Timer>,
    pub(super) clocks: Option<Clocks>,
    /// The directions that are open (`<->`): told of whole sockets only.
    pub(super) is_full: bool,
    /// Whether anything of tcp_info was told.
    pub(super) has_info: bool,
    /// Whether one of the clocks was: `ss` prints none that is 0, and none at all before iproute2 3.17.
    pub(super) has_clock: bool,
    /// What could not be read.
    pub(super) unread: Option<String>,
}

/// The program that printed a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Ss,
    Netstat,
}

/// What one run of a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// `None` until its first row or header.
    pub(super) program: Option<Program>,
    /// How it was called, where the text shows it.
    pub(super) command: Option<Command>,
    pub(super) header: Header,
    pub(super) rows: Vec<Row>,
    /// MPTCP connections, which lie above TCP sockets: inode and state.
    pub(super) mptcp: Vec<(Option<u64>, TcpState)>,
}

impl Table {
    pub(super) fn new(command: Option<Command>) -> Self {
        Self { program: None, command, header: Header::default(), rows: Vec::new(), mptcp: Vec::new() }
    }

    /// Whether any row tells so, or the options that the program was called with ask for it.
    fn shows(&self, option: char, told: impl Fn(&Details) -> bool) -> bool {
        let asked = self.command.as_ref().is_some_and(|command| command.has_option(option));
        asked || self.rows.iter().any(|row| told(&row.details))
    }

    /// Whether a row without a timer has none.
    pub(super) fn shows_timers(&self) -> bool {
        self.shows('o', |details| details.timer.is_some())
    }

    /// Whether a row without holders has none that could be seen.
    pub(super) fn shows_users(&self) -> bool {
        self.shows('p', |details| !details.users.is_empty())
    }

    /// Whether the limits of accept queues are told: where `ss` had to read `/proc/net/tcp` it prints 0 for all.
    pub(super) fn shows_accept_limits(&self) -> bool {
        let limits = self.rows.iter().filter(|row| row.state == TcpState::Listen);
        self.program == Some(Program::Ss) && limits.into_iter().any(|row| row.send > 0)
    }

    /// Whether a clock that a row with tcp_info leaves out is 0.
    pub(super) fn shows_clocks(&self) -> bool {
        self.rows.iter().any(|row| row.details.has_clock)
    }

    /// Whether the row of a subflow of an MPTCP connection would show that it is one.
    pub(super) fn shows_subflows(&self) -> bool {
        self.header.is_recent && self.rows.iter().any(|row| row.details.has_info)
    }

    /// Whether MPTCP connections have rows of their own.
    pub(super) fn shows_mptcp(&self) -> bool {
        !self.mptcp.is_empty() || self.command.as_ref().is_some_and(|command| command.has_option('M'))
    }

    /// Whether the command asked for other protocols, and not for TCP.
    pub(super) fn is_of_others(&self) -> bool {
        let others = |command: &Command| "uwxdS".chars().any(|option| command.has_option(option));
        self.command.as_ref().is_some_and(|command| others(command) && !command.has_option('t'))
    }

    /// Whether its rows may be those of UDP: no column names the protocol, no command tells it, some are unconnected as
    /// all of UDP's are, and none is in a state that only TCP has.
    pub(super) fn may_be_udp(&self) -> bool {
        let udp_too = |state| matches!(state, TcpState::BoundInactive | TcpState::Established);
        self.program == Some(Program::Ss)
            && !self.header.names_protocols
            && !self.command.as_ref().is_some_and(|command| command.has_option('t'))
            && self.rows.iter().any(|row| row.state == TcpState::BoundInactive)
            && self.rows.iter().all(|row| udp_too(row.state))
    }
}
