//! The thresholds, each with its unit and its reason.

use std::time::Duration;

/// A warning and a critical threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels<T> {
    /// From here on, a warning.
    pub warning: T,
    /// From here on, critical.
    pub critical: T,
}

/// All thresholds of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// From which age on a CLOSE-WAIT is stuck.
    pub stuck_after: Duration,
    /// Stuck CLOSE-WAIT sockets of one process.
    pub stuck: Levels<u64>,
    /// Used share of a port pool.
    pub ports: Levels<f64>,
    /// Used share of a pool for `bind()` to port 0.
    pub bind_ports: Levels<f64>,
    /// Open descriptors against RLIMIT_NOFILE.
    pub fds: Levels<f64>,
    /// Accept queue against its limit.
    pub accept: Levels<f64>,
    /// Tracked connections against nf_conntrack_max.
    pub conntrack: Levels<f64>,
    /// Share of a pool that TIME-WAIT holds and that cannot be taken over.
    pub time_wait: Levels<f64>,
    /// SYN-SENT to one destination.
    pub syn_sent: Levels<u64>,
    /// FIN-WAIT-2 with one peer.
    pub fin_wait2: Levels<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
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
        }
    }
}
