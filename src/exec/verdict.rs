//! What a command leaked, counted: for people and for machines.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use serde::Serialize;

use super::ExecPlan;
use super::ledger::{Entry, Neglect};
use super::watcher::Kept;
use crate::diagnosis::fix::{self, Omission};
use crate::model::process::Runtime;
use crate::model::text::printable;
use crate::model::wording::{count, counted, span};

/// The name of the document.
const SCHEMA: &str = "closewatch.exec/1";

/// What a command leaked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    schema: &'static str,
    version: &'static str,
    /// The command, as it was typed.
    pub command: String,
    /// The grace, seconds.
    pub grace_s: f64,
    /// How often the kernel was looked at.
    pub looks: u64,
    /// How many of these looks, or parts of them, failed.
    pub looks_failed: u64,
    /// Why the last of them did.
    pub why_failed: Option<String>,
    /// How many processes of the command ran on after it.
    pub left_behind: u64,
    /// How many sockets leaked.
    pub leaked: u64,
    /// The leaks, most sockets first.
    pub leaks: Vec<Leak>,
}

/// Sockets of one process that leaked in the same way on connections with the same peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    /// The process.
    pub pid: u32,
    /// What it is called.
    pub name: String,
    /// `body_unread`, `eof_unread`, `eof_read`, `not_accepted` or `ghost`.
    pub kind: &'static str,
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// Outbound: the peer. Inbound: the local end that it came to. `None` of a ghost of which nothing was seen before.
    pub destination: Option<String>,
    /// How many.
    pub sockets: u64,
    /// Bytes that lay unread on all of them.
    pub unread_bytes: u64,
    /// For how long the oldest was seen to be kept at least, seconds.
    pub oldest_s: f64,
    #[serde(skip)]
    oldest: Duration,
    #[serde(skip)]
    neglect: Neglect,
    #[serde(skip)]
    runtime: Runtime,
}

impl Verdict {
    /// Whether nothing can be said: not one look went well.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.leaks.is_empty() && self.looks_failed >= self.looks
    }

    /// The lines for people, safe to print.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let command = printable(&self.command);
        let grace = span(Duration::from_secs_f64(self.grace_s));
        let looks = counted(self.looks, "look", "looks");
        let mut lines = match self.leaked {
            0 => vec![format!("no leak seen of `{command}`: no socket was kept for {grace} or longer ({looks})")],
            leaked => {
                let sockets = counted(leaked, "socket", "sockets");
                vec![format!("`{command}` leaked {sockets}, kept for {grace} or longer ({looks})")]
            }
        };
        lines.extend(self.leaks.iter().map(Leak::line));
        lines.extend(self.fixes().into_iter().map(|fix| format!("  fix   {fix}")));
        if let Some(why) = &self.why_failed {
            let failed = counted(self.looks_failed, "look", "looks");
            lines.push(format!("  {failed} failed, and what was to be seen then is not known: {}", printable(why)));
        }
        if self.left_behind > 0 {
            let processes = counted(self.left_behind, "process", "processes");
            lines.push(format!("  {processes} of it ran on when it had ended; what they do from here on is not seen"));
        }
        lines
    }

    /// What mends each kind of leak that was seen, once for each kind of program.
    fn fixes(&self) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for leak in &self.leaks {
            let text = fix::of(leak.runtime, leak.omission()).text.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }
}

impl Leak {
    /// A library that asked may have read a response to its end, FIN and all, that its user never closed: small ones in Go
    /// and Python, all in Node.js.
    fn omission(&self) -> Omission {
        let asked = self.direction == "outbound";
        let by_library = !matches!(self.runtime, Runtime::Native | Runtime::Unknown);
        match self.neglect {
            Neglect::BodyUnread | Neglect::EofUnread if asked => Omission::Response,
            Neglect::EofRead if asked && by_library => Omission::Response,
            Neglect::BodyUnread | Neglect::EofUnread | Neglect::NotAccepted => Omission::Read,
            Neglect::EofRead => Omission::Close,
            Neglect::Ghost => Omission::Release,
        }
    }

    fn line(&self) -> String {
        let arrow = if self.direction == "outbound" { "→" } else { "←" };
        let destination = self.destination.as_deref().unwrap_or("a peer that was not seen");
        let each = self.unread_bytes / self.sockets.max(1);
        let kind = match self.neglect {
            Neglect::BodyUnread => format!("CLOSE-WAIT, {} bytes not read", count(each)),
            Neglect::EofUnread => "CLOSE-WAIT, the end of file not read".to_owned(),
            Neglect::EofRead => "CLOSE-WAIT, all read and not closed".to_owned(),
            Neglect::NotAccepted => "CLOSE-WAIT, not accepted".to_owned(),
            Neglect::Ghost => "a ghost: the connection is over, the descriptor open".to_owned(),
        };
        let (name, sockets) = (printable(&self.name), counted(self.sockets, "socket", "sockets"));
        format!("  {name}[{}] {arrow} {destination}  {sockets}: {kind}, for at least {}", self.pid, span(self.oldest))
    }
}

/// Counts what was kept.
pub(super) fn of(plan: &ExecPlan, kept: &Kept) -> Verdict {
    let mut leaks: BTreeMap<(u32, Neglect, bool, Option<String>), Leak> = BTreeMap::new();
    for entry in kept.ledger.leaked(plan.grace) {
        let end = if entry.inbound { entry.local } else { entry.peer };
        let key = (entry.who.pid, entry.neglect, entry.inbound, end.map(|end| end.to_string()));
        let destination = key.3.clone();
        leaks.entry(key).or_insert_with(|| begin(entry, destination)).add(entry);
    }
    let mut leaks: Vec<Leak> = leaks.into_values().collect();
    leaks.sort_by_key(|leak| std::cmp::Reverse(leak.sockets));
    let (looks_failed, why_failed) = kept.failed.clone().map_or((0, None), |(count, why)| (count, Some(why)));
    Verdict {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        command: words(&plan.command),
        grace_s: plan.grace.as_secs_f64(),
        looks: kept.n_looks,
        looks_failed,
        why_failed,
        left_behind: kept.n_left_behind,
        leaked: leaks.iter().map(|leak| leak.sockets).sum(),
        leaks,
    }
}

fn words(command: &[OsString]) -> String {
    command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn begin(entry: &Entry, destination: Option<String>) -> Leak {
    Leak {
        pid: entry.who.pid,
        name: entry.who.name.clone(),
        kind: entry.neglect.token(),
        direction: if entry.inbound { "inbound" } else { "outbound" },
        destination,
        sockets: 0,
        unread_bytes: 0,
        oldest_s: 0.0,
        oldest: Duration::ZERO,
        neglect: entry.neglect,
        runtime: entry.who.runtime,
    }
}

impl Leak {
    fn add(&mut self, entry: &Entry) {
        self.sockets += 1;
        self.unread_bytes += u64::from(entry.unread_bytes);
        self.oldest = self.oldest.max(entry.age);
        self.oldest_s = self.oldest.as_secs_f64();
    }
}
