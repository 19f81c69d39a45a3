//! What somebody saved: text of `ss`, of `netstat`, and of `/proc/net/tcp` and `/proc/net/tcp6`.
//!
//! What a text is, its lines tell, not its name. Layouts of `ss` from iproute2 3.8 to 6.12 are known, with any of `-a -p -o
//! -e -i -m -H -O`, with prompts, commands and other programs' lines in between; `/proc` texts of hosts of either byte order.
//! What a text leaves out becomes gaps of the [`Snapshot`], and so does each line that is not understood.

mod assemble;
mod command;
mod details;
mod endpoint;
mod gaps;
mod netstat;
mod proc_table;
mod row;
mod scan;
mod services;
mod sightings;
mod ss;
mod summary;
#[cfg(test)]
mod tests;
mod users;

use std::time::{Duration, SystemTime};

use self::assemble::{Assembled, assemble};
use self::gaps::RangeTold;
use self::proc_table::Decision;
use self::row::Program;
use self::scan::Scan;
use self::sightings::ProcRows;
use super::proc_net::{self, ByteOrder, quoted, text_losses};
use super::sysctl::gap;
use crate::model::ports::{EphemeralRange, PortSet, PortSettings};
use crate::model::snapshot::{
    Gap, Hides, Host, HostLimits, Namespace, NetNs, PortAnswers, ProcessScan, SavedFile, Snapshot, SourceKind,
    TcpCounters,
};
use crate::model::socket::NetNsIndex;

/// Why a text is no table of TCP sockets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedTextError {
    /// There is nothing in it.
    #[error("there is nothing in it")]
    Empty,
    /// None of its lines is a TCP socket.
    #[error("it holds no TCP socket of ss, netstat or /proc/net/tcp{}", first.as_ref().map(|line| format!(": {}", quoted(line))).unwrap_or_default())]
    NoSockets {
        /// The first line that was not understood.
        first: Option<String>,
    },
    /// It is the summary of `ss -s` alone.
    #[error("it is the summary of `ss -s`: counts, and no sockets")]
    SummaryOnly,
    /// Its rows lack the column of states.
    #[error("its rows have no state: ss leaves the column out when it is asked for one state")]
    NoStates,
    /// It holds tables of several programs.
    #[error("it holds tables of {}: each socket would count more than once", programs.join(" and of "))]
    Mixed {
        /// Which.
        programs: Vec<&'static str>,
    },
}

impl SavedTextError {
    /// What the reader can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty | Self::NoSockets { .. } | Self::SummaryOnly => {
                "save the output of `ss -tanpieo`, run as root: every socket, with its process, its age and its inode"
            }
            Self::NoStates => {
                "keep the command (`$ ss -tan state close-wait`) as the first line, or save all of `ss -tanpieo`"
            }
            Self::Mixed { .. } => "keep one of them: that of `ss` tells most",
        }
    }
}

/// Reads a saved text. It was made at `taken_at`, as far as anybody knows: ages are told by the text, and need no clock.
///
/// `ephemeral` is the ephemeral port range of the namespace that the text is of, which no such text tells: without it no
/// ports left are computed, and with it all of its ports count as usable, since the reserved ones are not known either.
///
/// # Errors
/// When the text holds no TCP socket, or what is in it cannot be counted.
pub fn read(text: &[u8], taken_at: SystemTime, ephemeral: Option<EphemeralRange>) -> Result<Snapshot, SavedTextError> {
    let scan = scan::scan(text);
    let source = source_of(&scan, text)?;
    let (made, mut found) = match source {
        SourceKind::SavedProcText => read_proc_rows(&scan),
        _ => {
            let made = assemble(&scan.tables);
            let gaps = gaps::of_rows(&made, source);
            (made, gaps)
        }
    };
    let hides_processes = scan.hides_processes;
    let mut gaps = gaps::of_text(scan, made.doubles);
    let range_told = if ephemeral.is_some() { RangeTold::Yes } else { RangeTold::No };
    gaps.extend(gaps::of_every_table(&made.sockets, range_told));
    gaps.append(&mut found);
    if hides_processes {
        let why = "netstat was not run as root";
        gaps.push(gap("the processes of other users", why, Hides::Owners));
    }
    let why = "such a text lists connections, not the descriptors of those that are over";
    gaps.push(gap("ghost sockets", why, Hides::Ghosts));
    Ok(Snapshot {
        taken_at,
        host: Host::default(),
        source,
        namespaces: vec![namespace(ephemeral, source)],
        sockets: made.sockets,
        processes: made.processes,
        holdings: made.holdings,
        scan: if made.shows_users { ProcessScan::All } else { ProcessScan::Skipped },
        limits: HostLimits::default(),
        gaps,
        file: Some(SavedFile::default()),
        ghosts: None,
        cgroups: Vec::new(),
    })
}

/// What printed the rows.
fn source_of(scan: &Scan<'_>, text: &[u8]) -> Result<SourceKind, SavedTextError> {
    let printed = |program| scan.tables.iter().any(|table| table.program == Some(program) && !table.rows.is_empty());
    let known = [
        (printed(Program::Ss), "ss", SourceKind::SsText),
        (printed(Program::Netstat), "netstat", SourceKind::NetstatText),
        (!scan.proc_rows.is_empty(), "/proc/net/tcp", SourceKind::SavedProcText),
    ];
    let there: Vec<_> = known.into_iter().filter(|(there, _, _)| *there).collect();
    match there.as_slice() {
        [(_, _, source)] => Ok(*source),
        [] if text.iter().all(u8::is_ascii_whitespace) => Err(SavedTextError::Empty),
        [] if scan.bad.first_why().is_some_and(|why| why.ends_with(ss::NO_STATE)) => Err(SavedTextError::NoStates),
        [] if scan.has_summary && scan.bad.count() == 0 => Err(SavedTextError::SummaryOnly),
        [] => Err(SavedTextError::NoSockets { first: scan.first_bad.clone() }),
        several => Err(SavedTextError::Mixed { programs: several.iter().map(|(_, name, _)| *name).collect() }),
    }
}

/// Reads the rows of `/proc/net/tcp` in the byte order that all of them speak for.
fn read_proc_rows(scan: &Scan<'_>) -> (Assembled, Vec<Gap>) {
    let decision = proc_table::decide(scan.proc_rows.iter().map(|row| (&*row.text, row.family)));
    let (order, is_sure) = match decision {
        Decision::Sure(order) => (order, true),
        Decision::Assumed(order) => (order, false),
    };
    let mut bad = proc_net::BadRows::default();
    let mut made = ProcRows::default();
    for row in &scan.proc_rows {
        match proc_net::parse_row(&row.text, row.family, NetNsIndex(0), order) {
            Ok(socket) => made.add(socket, row.table),
            Err(why) => bad.note(row.line, why),
        }
    }
    let made = made.finish();
    let mut gaps: Vec<Gap> = bad.into_gap("rows of /proc/net/tcp").into_iter().collect();
    gaps.extend(text_losses(&made.sockets));
    let held = made.sockets.iter().filter(|socket| socket.inode.is_some()).count() as u64;
    if held > 0 {
        let why = "/proc/net/tcp names no processes";
        gaps.push(Gap { count: held, ..gap("the processes that hold sockets", why, Hides::Owners) });
    }
    if !is_sure {
        let here = match order {
            ByteOrder::Little => "lowest byte first, as here",
            ByteOrder::Big => "highest byte first, as here",
        };
        let why = format!("the addresses make as much sense in either; {here}, is assumed");
        gaps.push(gap("in which byte order the host prints addresses", why, Hides::Sockets));
    }
    (made, gaps)
}

/// The namespace of the text, of which nothing is known but what the operator said.
fn namespace(ephemeral: Option<EphemeralRange>, source: SourceKind) -> Namespace {
    Namespace {
        id: NetNs {
            inode: None,
            name: "that of the text".to_owned(),
            container: None,
            runtime: None,
            pod: None,
            unit: None,
        },
        ports: PortSettings {
            range: ephemeral,
            reserved: ephemeral.map(|_| PortSet::default()),
            tw_reuse: None,
            tw_reuse_delay_ms: None,
            timestamps: None,
            autobind_reuse: None,
            fin_timeout_s: None,
        },
        sockstat: None,
        counters: TcpCounters::default(),
        conntrack: None,
        answers: PortAnswers::default(),
        took: Duration::ZERO,
        source,
    }
}
