//! The thresholds, each with its unit and its reason.

use std::time::Duration;

use crate::diagnosis::finding::{Severity, Unit};

/// A warning and a critical threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels<T> {
    /// From here on, a warning.
    pub warning: T,
    /// From here on, critical.
    pub critical: T,
}

impl<T: PartialOrd + Copy> Levels<T> {
    /// How bad the value is; `None` below the warning.
    #[must_use]
    pub fn grade(&self, observed: T) -> Option<Severity> {
        if observed >= self.critical {
            Some(Severity::Critical)
        } else if observed >= self.warning {
            Some(Severity::Warning)
        } else {
            None
        }
    }

    /// The threshold that a value of this severity has crossed; of what is not bad, the one that it would cross first.
    #[must_use]
    pub fn of(&self, severity: Severity) -> T {
        if severity == Severity::Critical { self.critical } else { self.warning }
    }
}

/// All thresholds of one run. The reasons for the defaults stand in [`Policy::explain`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// From which age on a CLOSE-WAIT is stuck. 60 s: so long a peer that has closed keeps its half (`tcp_fin_timeout`).
    pub stuck_after: Duration,
    /// Stuck CLOSE-WAIT sockets of one process. 10 are no accident; 1,000 are the descriptors of a usual soft limit (1,024).
    pub stuck: Levels<u64>,
    /// Used share of a port pool. At 50 % `connect()` has used one half of the port numbers up and searches it in vain
    /// first: it takes ten times as long.
    pub ports: Levels<f64>,
    /// Used share of a pool for `bind()` to port 0. Only what is full fails; 80 % leaves time to act.
    pub bind_ports: Levels<f64>,
    /// Open descriptors against RLIMIT_NOFILE. What is full fails at once, and files and sockets come in bursts.
    pub fds: Levels<f64>,
    /// Accept queue against its limit. When it is full the kernel drops finished handshakes.
    pub accept: Levels<f64>,
    /// Tracked connections against nf_conntrack_max. When it is full the kernel drops the first packet of every connection.
    pub conntrack: Levels<f64>,
    /// Share of a pool that TIME-WAIT holds and that cannot be taken over: as `ports`, of which it is a part.
    pub time_wait: Levels<f64>,
    /// SYN-SENT to one destination. A SYN is answered within a round trip; 20 at one moment are more than a usual burst.
    pub syn_sent: Levels<u64>,
    /// FIN-WAIT-2 with one peer. It ends within a round trip when the peer closes too; 100 with one peer do not.
    pub fin_wait2: Levels<u64>,
    /// Ghosts of one process: descriptors of connections that are over. As `stuck`: such a CLOSE-WAIT becomes a ghost when its
    /// peer is gone.
    pub ghosts: Levels<u64>,
}

impl Policy {
    const DEFAULT: Self = Self {
        stuck_after: Duration::from_secs(60),
        stuck: Levels { warning: 10, critical: 1000 },
        ports: Levels { warning: 0.5, critical: 0.8 },
        bind_ports: Levels { warning: 0.8, critical: 0.95 },
        fds: Levels { warning: 0.7, critical: 0.9 },
        accept: Levels { warning: 0.7, critical: 1.0 },
        conntrack: Levels { warning: 0.7, critical: 0.9 },
        time_wait: Levels { warning: 0.5, critical: 0.8 },
        syn_sent: Levels { warning: 20, critical: 1000 },
        fin_wait2: Levels { warning: 100, critical: 10_000 },
        ghosts: Levels { warning: 10, critical: 1000 },
    };

    /// The default of every threshold with its reason and the source of the reason.
    #[must_use]
    pub fn explain() -> &'static [PolicyReason] {
        REASONS
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a threshold is what it is by default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyReason {
    /// The metric, as the command line and the policy file name it.
    pub metric: &'static str,
    /// From here on, a warning; of `stuck_after`, the age itself.
    pub warning: f64,
    /// From here on, critical; `None` for `stuck_after`, which is no grade.
    pub critical: Option<f64>,
    /// The unit of both.
    pub unit: Unit,
    /// The reason, in one or two sentences.
    pub reason: &'static str,
    /// Where the reason can be checked.
    pub source: &'static str,
}

const REASONS: &[PolicyReason] = &[
    PolicyReason {
        metric: "stuck_after",
        warning: Policy::DEFAULT.stuck_after.as_secs() as f64,
        critical: None,
        unit: Unit::Seconds,
        reason: "A peer that has closed keeps its half of the connection for 60 s; after that nobody is left to take an \
                 answer, and a CLOSE-WAIT of that age serves nothing.",
        source: "ip-sysctl tcp_fin_timeout; RFC 9293 section 3.6",
    },
    counts(
        "stuck",
        Policy::DEFAULT.stuck,
        "A program closes within moments of the peer: ten of one process that are older than stuck_after are no accident. \
         A thousand are nearly all descriptors of a process with the usual soft limit of 1,024.",
        "getrlimit(2), RLIMIT_NOFILE",
    ),
    shares(
        "ports",
        Policy::DEFAULT.ports,
        "connect() tries the ports of one parity first. From 50 % on that half is used up, and every call searches it in \
         vain before it tries the other: it takes 12 to 20 times as long. At 80 % a burst can use up the rest.",
        "kernel net/ipv4/inet_hashtables.c, __inet_hash_connect",
    ),
    shares(
        "bind_ports",
        Policy::DEFAULT.bind_ports,
        "bind() to port 0 fails only when the pool is empty, but then for every program in the namespace; 80 % leaves time \
         to act.",
        "kernel net/ipv4/inet_connection_sock.c, inet_csk_find_open_port",
    ),
    shares(
        "fds",
        Policy::DEFAULT.fds,
        "At the limit socket(), accept() and open() fail at once with EMFILE, also those that would write the log; a third \
         to spare absorbs the usual burst.",
        "getrlimit(2), RLIMIT_NOFILE",
    ),
    shares(
        "accept",
        Policy::DEFAULT.accept,
        "A queue that is full makes the kernel drop finished handshakes: clients see slow connects and timeouts. A queue \
         that stays at 70 % is no burst any more.",
        "listen(2); kernel include/net/sock.h, sk_acceptq_is_full",
    ),
    shares(
        "conntrack",
        Policy::DEFAULT.conntrack,
        "When the table is full the first packet of every new connection is dropped, of all programs alike; connect() then \
         hangs instead of failing.",
        "kernel net/netfilter/nf_conntrack_core.c, __nf_conntrack_alloc",
    ),
    shares(
        "time_wait",
        Policy::DEFAULT.time_wait,
        "TIME-WAIT that cannot be taken over holds its port for 60 s, so it fills a pool as any other state does: the \
         thresholds of ports.",
        "kernel include/net/tcp.h, TCP_TIMEWAIT_LEN; net/ipv4/tcp_ipv4.c, tcp_twsk_unique",
    ),
    counts(
        "syn_sent",
        Policy::DEFAULT.syn_sent,
        "A SYN is answered within a round trip, so few are under way at one moment; one that is not answered is sent again \
         for about two minutes and holds its port all the while.",
        "ip-sysctl tcp_syn_retries",
    ),
    counts(
        "fin_wait2",
        Policy::DEFAULT.fin_wait2,
        "FIN-WAIT-2 ends within a round trip when the peer closes too. A hundred with one peer say that it does not; ten \
         thousand are a third of the usual port range.",
        "RFC 9293 section 3.6; ip-sysctl tcp_fin_timeout",
    ),
    counts(
        "ghosts",
        Policy::DEFAULT.ghosts,
        "A program closes a socket within moments of its reset, or when it next looks: ten of one process that it still holds \
         are no accident. A thousand are nearly all descriptors of a process with the usual soft limit of 1,024.",
        "kernel net/ipv4/tcp.c, tcp_done; getrlimit(2), RLIMIT_NOFILE",
    ),
];

const fn counts(metric: &'static str, levels: Levels<u64>, reason: &'static str, source: &'static str) -> PolicyReason {
    let (warning, critical) = (levels.warning as f64, Some(levels.critical as f64));
    PolicyReason { metric, warning, critical, unit: Unit::Sockets, reason, source }
}

const fn shares(metric: &'static str, levels: Levels<f64>, reason: &'static str, source: &'static str) -> PolicyReason {
    PolicyReason { metric, warning: levels.warning, critical: Some(levels.critical), unit: Unit::Ratio, reason, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_policy_has_its_reason() {
        let fields = format!("{:?}", Policy::default());
        for reason in Policy::explain() {
            assert!(fields.contains(&format!("{}:", reason.metric)), "{} is no field of the policy", reason.metric);
            assert!(!reason.reason.contains("  ") && reason.reason.ends_with('.'), "{}", reason.reason);
            assert!(reason.critical.is_none_or(|critical| critical > reason.warning), "{}", reason.metric);
        }
        let n_fields = fields.matches("stuck_after:").count() + fields.matches("Levels {").count();
        assert_eq!(n_fields, Policy::explain().len());
    }

    #[test]
    fn a_threshold_is_crossed_when_it_is_reached() {
        let levels = Policy::default().stuck;
        assert_eq!(levels.grade(9), None);
        assert_eq!(levels.grade(10), Some(Severity::Warning));
        assert_eq!(levels.grade(1000), Some(Severity::Critical));
        assert_eq!(levels.of(Severity::Critical), 1000);
        assert_eq!(levels.of(Severity::Info), 10);
    }
}
