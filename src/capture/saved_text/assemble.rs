//! From rows to sockets and the processes that hold them.
//!
//! Holders are joined to sockets by inode, as everywhere. Where the text does not tell inodes (`ss` without `-e`), a
//! socket that a program holds or may hold gets one of [`MADE_UP`] and above, its own: it stands for a file that surely is
//! there, or may be, and whose number is not known.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::endpoint::{Host, Place};
use super::row::{Details, Row, Table};
use super::sightings::{MADE_UP, Sightings};
use super::users::User;
use crate::capture::cgroup::parse_placement;
use crate::model::process::{Holding, Placement, Process, ProcessIndex, ProcessKey, Runtime};
use crate::model::socket::{Inode, NetNsIndex, PortBinding, Queues, SockCookie, SocketKind, SocketRecord, Timer};
use crate::model::state::TcpState;
use crate::model::tuple::{Endpoint, Family, FourTuple};

/// The numbers that interfaces get whose names alone are known: beyond those that the kernel gives, which are `int`s.
const NAMED_INTERFACES: u32 = 1 << 31;

/// What the rows amount to, and what was assumed on the way.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    pub(super) sockets: Vec<SocketRecord>,
    pub(super) processes: Vec<Process>,
    pub(super) holdings: Vec<Holding>,
    /// Whether any table shows holders.
    pub(super) shows_users: bool,
    /// Rows that a program holds or may hold, without a named holder where holders are shown.
    pub(super) holders_hidden: u64,
    /// Rows that show a socket which an earlier row shows too.
    pub(super) doubles: u64,
    /// Rows whose details could not be read, and what was wrong with the first.
    pub(super) unread_details: u64,
    pub(super) first_unread: Option<String>,
    /// Rows whose wildcard `*` may be that of either family.
    pub(super) any_family: u64,
    /// Rows of tables that may be of UDP.
    pub(super) perhaps_udp: u64,
    /// Rows whose port was a name.
    pub(super) named_ports: u64,
    /// Interfaces whose number is not known, by name.
    pub(super) interfaces: BTreeMap<String, u32>,
    /// Connections that may be subflows of an MPTCP connection in another state.
    pub(super) perhaps_subflows: u64,
    /// MPTCP connections in CLOSE-WAIT without a known subflow.
    pub(super) lone_mptcp: u64,
    /// Whether the text shows how the sockets of processes are placed in cgroups.
    pub(super) shows_cgroups: bool,
}

/// Puts the tables together.
pub(super) fn assemble(tables: &[Table]) -> Assembled {
    let mut builder = Builder { layout: layout_of(tables), ..Builder::default() };
    for (nth, table) in tables.iter().enumerate() {
        builder.table(table, nth as u32);
    }
    builder.join_mptcp(tables);
    builder.finish()
}

/// How the text writes wildcards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Layout {
    /// iproute2 4.13 and later: `*` is the IPv6 wildcard that takes IPv4 too.
    Bracketed,
    /// Before: `*` is the IPv4 wildcard.
    Plain,
    /// Nothing tells.
    #[default]
    Unknown,
}

fn layout_of(tables: &[Table]) -> Layout {
    let hosts = tables.iter().flat_map(|table| &table.rows).flat_map(|row| [row.local.host, row.remote.host]);
    for host in hosts {
        match host {
            Host::V6 { bracketed: true, .. } => return Layout::Bracketed,
            Host::V4(address) if address.is_unspecified() => return Layout::Bracketed,
            Host::V6 { bracketed: false, .. } => return Layout::Plain,
            Host::V4(_) | Host::Any => {}
        }
    }
    Layout::Unknown
}

#[derive(Debug, Default)]
struct Builder {
    layout: Layout,
    made: Assembled,
    seen: Sightings,
    /// The holders of each socket, by index.
    users: Vec<Vec<User>>,
    cgroups: Vec<Option<String>>,
}

impl Builder {
    fn table(&mut self, table: &Table, nth: u32) {
        if table.may_be_udp() {
            self.made.perhaps_udp += table.rows.len() as u64;
            return;
        }
        self.made.shows_users |= table.shows_users();
        let told = Told {
            timers: table.shows_timers(),
            users: table.shows_users(),
            accept_limits: table.shows_accept_limits(),
            clocks: table.shows_clocks(),
            subflows: table.shows_subflows(),
            mptcp: table.shows_mptcp(),
        };
        for row in &table.rows {
            let socket = self.socket(row, told);
            self.note(row);
            let is_subflow =
                row.state == TcpState::Established && !(told.subflows && row.details.has_info) && !told.mptcp;
            self.made.perhaps_subflows += u64::from(is_subflow);
            self.place(socket, row, nth);
        }
    }

    /// Counts what was lost or assumed in reading the row.
    fn note(&mut self, row: &Row) {
        let made = &mut self.made;
        made.named_ports += u64::from(row.local.named_port || row.remote.named_port);
        made.shows_cgroups |= row.details.cgroup.is_some();
        if let Some(why) = &row.details.unread {
            made.unread_details += 1;
            made.first_unread.get_or_insert_with(|| format!("line {}: {why}", row.line));
        }
    }

    /// Keeps the socket, in the place of one that is the same.
    fn place(&mut self, socket: SocketRecord, row: &Row, table: u32) {
        match self.seen.earlier(&socket, table, &self.made.sockets) {
            Some(at) => {
                self.made.doubles += 1;
                self.made.sockets[at] = socket;
                self.users[at].clone_from(&row.details.users);
                self.cgroups[at].clone_from(&row.details.cgroup);
            }
            None => {
                self.made.sockets.push(socket);
                self.users.push(row.details.users.clone());
                self.cgroups.push(row.details.cgroup.clone());
            }
        }
    }

    fn socket(&mut self, row: &Row, told: Told) -> SocketRecord {
        let details = &row.details;
        let family = self.family(row);
        let kind = kind_of(row);
        let queues = match row.state {
            TcpState::Listen => Queues::Listen { waiting: row.recv, limit: told.accept_limits.then_some(row.send) },
            _ => Queues::Data { recv: row.recv, send: row.send },
        };
        let tuple = FourTuple { local: end(&row.local, family), remote: end(&row.remote, family) };
        // ss leaves out the user 0 where it tells inodes; netstat, which has a column for the family, does not.
        let root = details.inode.filter(|_| row.family.is_none()).map(|_| 0);
        let uid = details.uid.or(root).filter(|_| kind == SocketKind::Full);
        SocketRecord {
            netns: NetNsIndex(0),
            state: row.state,
            kind,
            family,
            tuple,
            interface: self.interface(row.local.zone.as_deref()),
            cookie: details.cookie.and_then(SockCookie::new),
            inode: self.inode(row, kind, told),
            uid,
            cgroup: None,
            queues,
            timer: details.timer.unwrap_or(if told.timers { Timer::Off } else { Timer::Unknown }),
            binding: PortBinding::Unknown,
            v6only: self.v6only(row, family),
            clocks: details.clocks.filter(|_| told.clocks && kind == SocketKind::Full && row.state != TcpState::Listen),
            mptcp: None,
        }
    }

    fn family(&mut self, row: &Row) -> Family {
        let shown = row.family.or(row.local.host.family()).or(row.remote.host.family());
        shown.unwrap_or_else(|| match self.layout {
            Layout::Bracketed => Family::V6,
            Layout::Plain => Family::V4,
            Layout::Unknown if row.details.v6only.is_some() => Family::V6,
            Layout::Unknown => {
                self.made.any_family += 1;
                Family::V6
            }
        })
    }

    /// Since iproute2 4.13 the wildcard of an IPv6 socket is `[::]` when it is IPv6-only and `*` when not, on either side.
    fn v6only(&self, row: &Row, family: Family) -> Option<bool> {
        let bound_only = matches!(row.state, TcpState::Listen | TcpState::BoundInactive);
        if family == Family::V4 || !bound_only {
            return None;
        }
        row.details.v6only.or_else(|| match row.remote.host {
            Host::Any if self.layout == Layout::Bracketed && row.family.is_none() => Some(false),
            Host::V6 { bracketed: true, .. } => Some(true),
            _ => None,
        })
    }

    /// The number of the file that stands for the socket, told or made up; `None` when none does.
    fn inode(&mut self, row: &Row, kind: SocketKind, told: Told) -> Option<Inode> {
        let made_up = Inode::new(MADE_UP + row.line);
        let named = !row.details.users.is_empty();
        match row.details.inode {
            Some(0) => None,
            Some(inode) => {
                self.made.holders_hidden += u64::from(told.users && !named);
                Inode::new(inode)
            }
            None if named => made_up,
            None if kind != SocketKind::Full || is_let_go(row.state) => None,
            None => {
                self.made.holders_hidden += u64::from(told.users);
                made_up
            }
        }
    }

    fn interface(&mut self, name: Option<&str>) -> u32 {
        let Some(name) = name else { return 0 };
        // `lo` has the same number everywhere, and ss names an interface that is gone by its number.
        if name == "lo" {
            return 1;
        }
        if let Some(number) = name.strip_prefix("if").and_then(|number| number.parse().ok()) {
            return number;
        }
        let next = NAMED_INTERFACES + self.made.interfaces.len() as u32;
        *self.made.interfaces.entry(name.to_owned()).or_insert(next)
    }

    /// Gives the state of MPTCP connections to their subflows, which carry the same inode.
    fn join_mptcp(&mut self, tables: &[Table]) {
        let all = tables.iter().flat_map(|table| &table.mptcp);
        let mut states: HashMap<Inode, TcpState> = HashMap::new();
        let mut lone = 0;
        for (inode, state) in all {
            match inode.and_then(Inode::new) {
                Some(inode) => {
                    states.insert(inode, *state);
                }
                _ => lone += u64::from(*state == TcpState::CloseWait),
            }
        }
        for socket in &mut self.made.sockets {
            socket.mptcp = socket.inode.and_then(|inode| states.get(&inode).copied());
        }
        states.retain(|_, state| *state == TcpState::CloseWait);
        for socket in &self.made.sockets {
            socket.inode.and_then(|inode| states.remove(&inode));
        }
        self.made.lone_mptcp = lone + states.len() as u64;
    }

    /// Makes a process of each pid that is named, and a holding of each of its descriptors.
    fn finish(mut self) -> Assembled {
        let mut indexes: HashMap<u32, ProcessIndex> = HashMap::new();
        let mut placements: Vec<Vec<Placement>> = Vec::new();
        let made = &mut self.made;
        for ((socket, users), cgroup) in made.sockets.iter().zip(&self.users).zip(&self.cgroups) {
            let Some(inode) = socket.inode else { continue };
            for user in users {
                let index = *indexes.entry(user.pid).or_insert_with(|| {
                    made.processes.push(process_of(user));
                    placements.push(Vec::new());
                    ProcessIndex(made.processes.len() as u32 - 1)
                });
                // netstat tells no descriptor, and nothing asks for it but the removal of doubles below.
                made.holdings.push(Holding { inode, process: index, fd: user.fd.unwrap_or(0) });
                let known = &mut placements[index.0 as usize];
                known.extend(cgroup.as_deref().and_then(placement_of).filter(|placement| !known.contains(placement)));
            }
        }
        for (process, mut placements) in made.processes.iter_mut().zip(placements) {
            // A socket stays in the cgroup that it was made in, wherever its process goes: where they disagree, nothing is
            // known.
            process.placement = placements.pop().filter(|_| placements.is_empty());
        }
        made.holdings.sort_unstable();
        made.holdings.dedup();
        self.made
    }
}

/// What a table tells of every row by leaving it out.
#[derive(Debug, Clone, Copy)]
struct Told {
    timers: bool,
    users: bool,
    accept_limits: bool,
    clocks: bool,
    subflows: bool,
    mptcp: bool,
}

fn end(place: &Place, family: Family) -> Endpoint {
    let address: IpAddr = place.host.address(family);
    Endpoint::new(address, place.port)
}

/// States that a socket is in after its program has closed it, as a rule: one that only shut it down is named by `-p`.
fn is_let_go(state: TcpState) -> bool {
    matches!(state, TcpState::FinWait1 | TcpState::FinWait2 | TcpState::LastAck | TcpState::Closing)
}

/// FIN-WAIT-2 is both a state of whole sockets and of the small objects that replace them. Only these have the timer of
/// TIME-WAIT, and of details only whole sockets show open directions. SYN-RECV is a request as a rule: whole sockets are
/// in it with TCP Fast Open only.
fn kind_of(row: &Row) -> SocketKind {
    let Details { timer, inode, is_full, users, .. } = &row.details;
    let is_whole = *is_full || !users.is_empty() || inode.is_some_and(|inode| inode != 0);
    match row.state {
        TcpState::TimeWait => SocketKind::TimeWait,
        _ if matches!(timer, Some(Timer::TimeWait(_))) => SocketKind::TimeWait,
        TcpState::SynRecv if !is_whole => SocketKind::Request,
        TcpState::FinWait2 if !is_whole && inode.is_some() && timer.is_none() && row.family.is_none() => {
            SocketKind::TimeWait
        }
        _ => SocketKind::Full,
    }
}

fn process_of(user: &User) -> Process {
    // Until iproute2 6.12 ss prints no name when it begins with a parenthesis.
    let name = if user.name.is_empty() { "?".to_owned() } else { user.name.clone() };
    Process {
        key: ProcessKey { pid: user.pid, start_ticks: 0 },
        name,
        started_at: None,
        exe: None,
        uid: None,
        user: None,
        placement: None,
        netns: None,
        fds_open: None,
        fds_limit: None,
        runtime: Runtime::Unknown,
    }
}

/// Unit and container of the cgroup that a socket was made in; `None` for one that names neither.
fn placement_of(cgroup: &str) -> Option<Placement> {
    let placement = parse_placement(&format!("0::{cgroup}"));
    (placement.unit.is_some() || placement.container.is_some()).then_some(placement)
}
