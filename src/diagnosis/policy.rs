//! The thresholds, each with its unit and its reason.

use std::time::Duration;

use crate::diagnosis::finding::{Severity, Unit};
use crate::diagnosis::range::Range;

/// In seconds.
const DAY: f64 = 86_400.0;

/// When a value is a warning and when it is critical.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// The values that are a warning; `None` when none is.
    pub warning: Option<Range>,
    /// The values that are critical, whatever the warning says; `None` when none is.
    pub critical: Option<Range>,
    /// Whether the reader set one of them: what the reader asked about must be known, or the answer is Unknown.
    pub asked: bool,
}

impl Levels {
    /// How bad a share is, as rules see it: because it is too much. A range that alerts on too little, or only between two
    /// values, is no rule's business; [`crate::diagnosis::metrics`] grades by it.
    #[must_use]
    pub fn grade(&self, observed: f64) -> Option<Severity> {
        self.worst(|range| range.is_too_much(observed))
    }

    /// How bad a count is, as [`Self::grade`].
    #[must_use]
    pub fn grade_count(&self, observed: u64) -> Option<Severity> {
        self.grade(observed as f64)
    }

    /// How bad a value is by the whole of the ranges.
    #[must_use]
    pub fn judge(&self, value: f64) -> Option<Severity> {
        self.worst(|range| range.has_alert_at(value))
    }

    /// The threshold that a value of this severity has crossed; of what is not bad, the one that it would cross first.
    /// `None` when more never becomes too much.
    #[must_use]
    pub fn of(&self, severity: Severity) -> Option<f64> {
        let edge = |range: Option<Range>| range.and_then(|range| range.upper_edge());
        match severity {
            Severity::Critical => edge(self.critical),
            _ => edge(self.warning).or(edge(self.critical)),
        }
    }

    /// Replaces one of the two by what the reader asked for.
    pub fn ask(&mut self, severity: Severity, range: Range) {
        let replaced = if severity == Severity::Critical { &mut self.critical } else { &mut self.warning };
        *replaced = Some(range);
        self.asked = true;
    }

    const fn from(warning: f64, critical: f64) -> Self {
        Self { warning: Some(Range::from(warning)), critical: Some(Range::from(critical)), asked: false }
    }

    const fn below(warning: f64, critical: f64) -> Self {
        Self { warning: Some(Range::below(warning)), critical: Some(Range::below(critical)), asked: false }
    }

    fn worst(&self, alerts: impl Fn(&Range) -> bool) -> Option<Severity> {
        if self.critical.as_ref().is_some_and(&alerts) {
            Some(Severity::Critical)
        } else if self.warning.as_ref().is_some_and(&alerts) {
            Some(Severity::Warning)
        } else {
            None
        }
    }
}

/// What a missing permission makes of a verdict that would be Ok, when a leak may hide behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPermission {
    /// Unknown: a report must not say Ok of what it did not see.
    Unknown,
    /// It stays Ok and the gap is told: a monitoring system that may not see everything would be Unknown for ever. Who wants
    /// that asks for `coverage`.
    Told,
}

/// All thresholds of one run, in one place for rules, headline and metrics. The reasons for the defaults stand in
/// [`Policy::entries`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// From which age on a CLOSE-WAIT is stuck. 60 s: so long a peer that has closed keeps its half (`tcp_fin_timeout`).
    pub stuck_after: Duration,
    /// Stuck CLOSE-WAIT sockets of one process. 10 are no accident; 1,000 are the descriptors of a usual soft limit (1,024).
    pub stuck: Levels,
    /// Used share of a port pool. At 50 % `connect()` has used one half of the port numbers up and searches it in vain
    /// first: it takes ten times as long.
    pub ports: Levels,
    /// Used share of a pool for `bind()` to port 0. Only what is full fails; 80 % leaves time to act.
    pub bind_ports: Levels,
    /// Open descriptors against RLIMIT_NOFILE. What is full fails at once, and files and sockets come in bursts.
    pub fds: Levels,
    /// Accept queue against its limit. When it is full the kernel drops finished handshakes.
    pub accept: Levels,
    /// Tracked connections against nf_conntrack_max. When it is full the kernel drops the first packet of every connection.
    pub conntrack: Levels,
    /// Share of a pool that TIME-WAIT holds and that cannot be taken over: as `ports`, of which it is a part.
    pub time_wait: Levels,
    /// SYN-SENT to one destination. A SYN is answered within a round trip; 20 at one moment are more than a usual burst.
    pub syn_sent: Levels,
    /// FIN-WAIT-2 with one peer. It ends within a round trip when the peer closes too; 100 with one peer do not.
    pub fin_wait2: Levels,
    /// Ghosts of one process: descriptors of connections that are over. As `stuck`: such a CLOSE-WAIT becomes a ghost when its
    /// peer is gone.
    pub ghosts: Levels,
    /// Time until the first wall at the observed growth. 7 days are a working week in which to mend the program; 24 hours, the
    /// next shift.
    pub eta: Levels,
    /// Share of the sockets whose holder was seen. Nothing by default: who may see how much is the operator's choice. Too
    /// little is never worse than Unknown.
    pub coverage: Levels,
    /// What a missing permission makes of an Ok.
    pub missing_permission: MissingPermission,
}

impl Policy {
    const DEFAULT: Self = Self {
        stuck_after: Duration::from_secs(60),
        stuck: Levels::from(10.0, 1000.0),
        ports: Levels::from(0.5, 0.8),
        bind_ports: Levels::from(0.8, 0.95),
        fds: Levels::from(0.7, 0.9),
        accept: Levels::from(0.7, 1.0),
        conntrack: Levels::from(0.7, 0.9),
        time_wait: Levels::from(0.5, 0.8),
        syn_sent: Levels::from(20.0, 1000.0),
        fin_wait2: Levels::from(100.0, 10_000.0),
        ghosts: Levels::from(10.0, 1000.0),
        eta: Levels::below(7.0 * DAY, DAY),
        coverage: Levels { warning: None, critical: None, asked: false },
        missing_permission: MissingPermission::Unknown,
    };

    /// Every threshold by its name, with its reason and the source of the reason.
    #[must_use]
    pub fn entries() -> &'static [PolicyEntry] {
        ENTRIES
    }

    /// The threshold of this name.
    #[must_use]
    pub fn entry(name: &str) -> Option<&'static PolicyEntry> {
        ENTRIES.iter().find(|entry| entry.name == name)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A threshold, and why it is what it is by default.
#[derive(Debug, Clone, Copy)]
pub struct PolicyEntry {
    /// Its name, as the command line and the policy file spell it.
    pub name: &'static str,
    /// Where a policy keeps it.
    pub place: Place,
    /// The unit of its values.
    pub unit: Unit,
    /// The reason, in one or two sentences.
    pub reason: &'static str,
    /// Where the reason can be checked.
    pub source: &'static str,
}

/// Where a policy keeps a threshold.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// An age, which is no grade.
    Age(fn(&mut Policy) -> &mut Duration),
    /// Levels.
    Levels(fn(&mut Policy) -> &mut Levels),
}

impl PolicyEntry {
    /// Replaces one of the two levels by what the reader asked for. What TIME-WAIT may hold of a pool follows what all
    /// sockets together may, unless it was asked for itself.
    pub fn ask(&self, policy: &mut Policy, severity: Severity, range: Range) {
        let Place::Levels(levels) = self.place else { return };
        levels(policy).ask(severity, range);
        if self.name == PORTS && !policy.time_wait.asked {
            policy.time_wait = Levels { asked: false, ..policy.ports };
        }
    }
}

/// The name of the threshold that `time_wait` follows.
const PORTS: &str = "ports";

const ENTRIES: &[PolicyEntry] = &[
    PolicyEntry {
        name: "stuck_after",
        place: Place::Age(|policy| &mut policy.stuck_after),
        unit: Unit::Seconds,
        reason: "A peer that has closed keeps its half of the connection for 60 s; after that nobody is left to take an \
                 answer, and a CLOSE-WAIT of that age serves nothing.",
        source: "ip-sysctl tcp_fin_timeout; RFC 9293 section 3.6",
    },
    levels(
        ("stuck", Unit::Sockets),
        |policy| &mut policy.stuck,
        "A program closes within moments of the peer: ten of one process that are older than stuck_after are no accident. \
         A thousand are nearly all descriptors of a process with the usual soft limit of 1,024.",
        "getrlimit(2), RLIMIT_NOFILE",
    ),
    levels(
        (PORTS, Unit::Ratio),
        |policy| &mut policy.ports,
        "connect() tries the ports of one parity first. From 50 % on that half is used up, and every call searches it in \
         vain before it tries the other: it takes 12 to 20 times as long. At 80 % a burst can use up the rest.",
        "kernel net/ipv4/inet_hashtables.c, __inet_hash_connect",
    ),
    levels(
        ("bind_ports", Unit::Ratio),
        |policy| &mut policy.bind_ports,
        "bind() to port 0 fails only when the pool is empty, but then for every program in the namespace; 80 % leaves time \
         to act.",
        "kernel net/ipv4/inet_connection_sock.c, inet_csk_find_open_port",
    ),
    levels(
        ("fds", Unit::Ratio),
        |policy| &mut policy.fds,
        "At the limit socket(), accept() and open() fail at once with EMFILE, also those that would write the log; a third \
         to spare absorbs the usual burst.",
        "getrlimit(2), RLIMIT_NOFILE",
    ),
    levels(
        ("accept", Unit::Ratio),
        |policy| &mut policy.accept,
        "A queue that is full makes the kernel drop finished handshakes: clients see slow connects and timeouts. A queue \
         that stays at 70 % is no burst any more.",
        "listen(2); kernel include/net/sock.h, sk_acceptq_is_full",
    ),
    levels(
        ("conntrack", Unit::Ratio),
        |policy| &mut policy.conntrack,
        "When the table is full the first packet of every new connection is dropped, of all programs alike; connect() then \
         hangs instead of failing.",
        "kernel net/netfilter/nf_conntrack_core.c, __nf_conntrack_alloc",
    ),
    levels(
        ("time_wait", Unit::Ratio),
        |policy| &mut policy.time_wait,
        "TIME-WAIT that cannot be taken over holds its port for 60 s, so it fills a pool as any other state does: the \
         thresholds of ports.",
        "kernel include/net/tcp.h, TCP_TIMEWAIT_LEN; net/ipv4/tcp_ipv4.c, tcp_twsk_unique",
    ),
    levels(
        ("syn_sent", Unit::Sockets),
        |policy| &mut policy.syn_sent,
        "A SYN is answered within a round trip, so few are under way at one moment; one that is not answered is sent again \
         for about two minutes and holds its port all the while.",
        "ip-sysctl tcp_syn_retries",
    ),
    levels(
        ("fin_wait2", Unit::Sockets),
        |policy| &mut policy.fin_wait2,
        "FIN-WAIT-2 ends within a round trip when the peer closes too. A hundred with one peer say that it does not; ten \
         thousand are a third of the usual port range.",
        "RFC 9293 section 3.6; ip-sysctl tcp_fin_timeout",
    ),
    levels(
        ("ghosts", Unit::Sockets),
        |policy| &mut policy.ghosts,
        "A program closes a socket within moments of its reset, or when it next looks: ten of one process that it still holds \
         are no accident. A thousand are nearly all descriptors of a process with the usual soft limit of 1,024.",
        "kernel net/ipv4/tcp.c, tcp_done; getrlimit(2), RLIMIT_NOFILE",
    ),
    levels(
        ("eta", Unit::Seconds),
        |policy| &mut policy.eta,
        "A leak is mended by a change of the program, which takes days: a week's notice lets it go its usual way. Within a day \
         somebody must restart the program or make room before the night.",
        "the time to the first wall at the observed growth, once the growth is significant",
    ),
    levels(
        ("coverage", Unit::Ratio),
        |policy| &mut policy.coverage,
        "Counts, states, ages and ports need no privilege, so that a holder that could not be seen does not make them wrong. \
         Who wants to be told asks for it (coverage=90%:); too little is Unknown, never worse.",
        "closewatch explain coverage; capabilities(7)",
    ),
];

const fn levels(
    (name, unit): (&'static str, Unit),
    place: fn(&mut Policy) -> &mut Levels,
    reason: &'static str,
    source: &'static str,
) -> PolicyEntry {
    PolicyEntry { name, place: Place::Levels(place), unit, reason, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::range::Alerts;

    #[test]
    fn every_field_of_the_policy_has_its_reason() {
        let mut policy = Policy::default();
        let fields = format!("{policy:?}");
        for entry in Policy::entries() {
            assert!(fields.contains(&format!("{}:", entry.name)), "{} is no field of the policy", entry.name);
            assert!(!entry.reason.contains("  ") && entry.reason.ends_with('.'), "{}", entry.reason);
            match entry.place {
                Place::Age(age) => assert!(*age(&mut policy) > Duration::ZERO),
                Place::Levels(levels) => levels(&mut policy).asked = true,
            }
        }
        let n_fields = fields.matches("stuck_after:").count() + fields.matches("Levels {").count();
        assert_eq!(n_fields, Policy::entries().len());
        assert!(!format!("{policy:?}").contains("asked: false"), "two entries share a place");
    }

    #[test]
    fn every_default_becomes_critical_after_it_is_a_warning() {
        let mut policy = Policy::default();
        for entry in Policy::entries() {
            let Place::Levels(levels) = entry.place else { continue };
            let levels = levels(&mut policy);
            let edges = [levels.warning, levels.critical].map(|range| range.and_then(|range| range.upper_edge()));
            assert!(edges[0] < edges[1] || edges == [None, None], "{}", entry.name);
        }
    }

    #[test]
    fn a_default_threshold_is_crossed_when_it_is_reached() {
        let levels = Policy::default().stuck;
        assert_eq!(levels.grade_count(9), None);
        assert_eq!(levels.grade_count(10), Some(Severity::Warning));
        assert_eq!(levels.grade_count(1000), Some(Severity::Critical));
        assert_eq!((levels.of(Severity::Critical), levels.of(Severity::Info)), (Some(1000.0), Some(10.0)));
    }

    #[test]
    fn a_threshold_that_is_asked_for_is_crossed_beyond_it_as_plugins_do() {
        let entry = Policy::entry("stuck").expect("an entry");
        let mut policy = Policy::default();
        let range = |end| Range::new(Alerts::Outside, 0.0, end).expect("a range");
        entry.ask(&mut policy, Severity::Warning, range(10.0));
        assert_eq!(policy.stuck.grade_count(10), None);
        assert_eq!(policy.stuck.grade_count(11), Some(Severity::Warning));
        assert_eq!(policy.stuck.grade_count(1000), Some(Severity::Critical), "the other keeps its default");
        assert!(policy.stuck.asked && !policy.ports.asked);
        entry.ask(&mut policy, Severity::Warning, Range::below(5.0));
        assert_eq!((policy.stuck.grade_count(3), policy.stuck.judge(3.0)), (None, Some(Severity::Warning)));
        assert_eq!(policy.stuck.of(Severity::Warning), Some(1000.0), "the one that would be crossed first");
    }

    #[test]
    fn time_wait_follows_ports_until_it_is_asked_for() {
        let [ports, time_wait] = ["ports", "time_wait"].map(|name| Policy::entry(name).expect("an entry"));
        let mut policy = Policy::default();
        ports.ask(&mut policy, Severity::Warning, Range::from(0.9));
        assert_eq!((policy.time_wait.warning, policy.time_wait.asked), (Some(Range::from(0.9)), false));
        time_wait.ask(&mut policy, Severity::Warning, Range::from(0.6));
        ports.ask(&mut policy, Severity::Warning, Range::from(0.7));
        assert_eq!(policy.time_wait.warning, Some(Range::from(0.6)));
    }
}
