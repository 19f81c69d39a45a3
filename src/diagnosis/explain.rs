//! Rules and states in plain words. The states are those of RFC 9293 section 3.3.2; how connections close is section 3.6.

use crate::diagnosis::finding::Rule;
use crate::model::state::TcpState;

/// A rule in plain words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// Which rule.
    pub rule: Rule,
    /// What it means when the rule finds something.
    pub means: &'static str,
    /// What is measured, and what is left out.
    pub measured: &'static str,
    /// What to do.
    pub to_do: &'static str,
}

/// What the rule finds, how, and what to do then.
#[must_use]
pub fn rule(rule: Rule) -> &'static Explanation {
    // The table has the order of the enum; a test holds that.
    &EXPLANATIONS[rule as usize]
}

/// What the state means, which side is to act, and what it holds.
#[must_use]
pub fn state(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "The connection is open: data can flow both ways.",
        TcpState::SynSent => {
            "This host asked for a connection and waits for the answer. It holds a local port. Without an answer it gives up \
             after tcp_syn_retries tries, about two minutes."
        }
        TcpState::SynRecv => {
            "A peer asked, this host answered, and the peer's confirmation is missing. It holds no port of its own; many of \
             them are slow peers or a SYN flood."
        }
        TcpState::FinWait1 => {
            "The program here closed; the peer has not acknowledged it yet. Many of them are peers that vanished or that do \
             not take the data still to be sent."
        }
        TcpState::FinWait2 => {
            "The program here closed and the peer knows; the peer has yet to close. The peer is in CLOSE-WAIT. When no \
             process holds it any more it ends after tcp_fin_timeout."
        }
        TcpState::TimeWait => {
            "Both sides closed, this one first. The kernel keeps the pair of ends for 60 s, so that late segments do not \
             disturb a new connection. No process holds it; it ends by itself."
        }
        TcpState::Close => {
            "No connection. In the kernel's tables it is a socket that is neither connected nor listening."
        }
        TcpState::CloseWait => {
            "The peer closed; the program here has yet to call close(). Nothing in the kernel ends it. A moment of it is \
             normal, a long one is a bug in the program here."
        }
        TcpState::LastAck => {
            "The peer closed, then the program here did; the peer's last acknowledgement is missing. It ends by itself."
        }
        TcpState::Listen => {
            "The program waits for connections. Recv-Q is how many wait to be accepted, Send-Q how many may wait."
        }
        TcpState::Closing => {
            "Both sides closed at the same time; the acknowledgement of this side's close is missing. It ends by itself."
        }
        TcpState::BoundInactive => {
            "The program called bind() and neither connected nor listens. The port is taken from every connect() in the \
             namespace. /proc/net/tcp does not show it."
        }
    }
}

/// Every rule in plain words, in the order of [`Rule`].
const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        rule: Rule::CloseWaitLeak,
        means: "The peer has closed its side of these connections, and the program here never closed its own. The kernel keeps \
             them for ever: only close(), or the end of the program, ends them. Each holds a descriptor, and one that this \
             host opened holds an ephemeral port. When the peer comes back from the same port, its SYN is not answered but \
             challenged (RFC 5961): the peer resets the old connection and tries again, or times out where a firewall drops \
             the challenge.",
        measured: "CLOSE-WAIT sockets of one process that are surely older than stuck_after. The age lies between the last ACK and \
             the last data that came in. When the other end is on this host, in FIN-WAIT-2, it is told who closed. Young ones, sockets inherited from an older process, half-closes that are still \
             written to and small idle pools are left out.",
        to_do: "Restart the program to free ports and descriptors, then mend it: close every response and every connection on \
             every path. No kernel setting closes a CLOSE-WAIT.",
    },
    Explanation {
        rule: Rule::ReceiveStalled,
        means: "Data has come in on open connections and nobody reads it. While the receive buffer is full the peer cannot end \
             the connection, so it stays ESTABLISHED: the same leak as CLOSE-WAIT, with a large body.",
        measured: "ESTABLISHED sockets with a receive queue that received nothing for longer than stuck_after.",
        to_do: "Read responses to their end or close them. When the reader only pauses, the number does not grow.",
    },
    Explanation {
        rule: Rule::AcceptStalled,
        means: "Clients connected, waited and left, and the program never took their connections out of the accept queue. They \
             stand in CLOSE-WAIT without a process, which looks like a leak that nobody holds.",
        measured: "CLOSE-WAIT sockets without an inode on the port of a listener. The queue is first in, first out: the oldest \
             one's age is how long nothing was accepted.",
        to_do: "Find out why the program does not accept: it is blocked, stopped, or has no descriptor left.",
    },
    Explanation {
        rule: Rule::PortPool,
        means: "Every connection from one address here to one address and port there needs a local port of its own. When all \
             are used, connect() to that destination fails with EADDRNOTAVAIL; others still succeed.",
        measured: "By the kernel's own rules: the ephemeral range less the reserved ports, less ports that bind() took, less ports \
             of connections between these two ends; a TIME-WAIT that may be taken over counts as left. Where the kernel's \
             tables leave doubt, both bounds are given.",
        to_do: "Find who holds the ports and in which state: CLOSE-WAIT is a leak, TIME-WAIT asks for kept connections, \
             ESTABLISHED for fewer connections or more addresses. A wider range buys time.",
    },
    Explanation {
        rule: Rule::SnatBudget,
        means: "A NAT between this host and others gives each connection a port of its own, and has only so many for each \
             destination. Everything that leaves under the same address shares them. When they are used up it drops the SYN: \
             connect() hangs and times out, and no error says why.",
        measured: "With --snat-limit N only: the connections to each address and port of another host, from all sources and \
             namespaces, in every state, against N. Loopback, link-local and this host's own addresses are left out. The \
             mappings that a NAT keeps after a connection has ended here are not visible from here, nor are other hosts behind \
             the same address: at least so many are used. Graded by the thresholds of ports.",
        to_do: "Keep connections and use them again; mend leaks; give the NAT more addresses, or the destination a way around \
             it.",
    },
    Explanation {
        rule: Rule::BindPool,
        means: "bind() to port 0, and listen() without bind(), need a port that no socket of an overlapping address has. When \
             there is none they fail with EADDRINUSE.",
        measured: "The ephemeral range less the reserved ports, less every port with an owner whose address overlaps, connected \
             ones and TIME-WAIT included.",
        to_do: "Let connect() choose the port: set IP_BIND_ADDRESS_NO_PORT where bind() only chooses the source address.",
    },
    Explanation {
        rule: Rule::GhostSockets,
        means: "A process holds descriptors of connections that are over. A reset took them out of every socket table and gave \
                their ports back; ss shows nothing of them. It is what a leak of CLOSE-WAIT becomes once keepalive finds the \
                peer gone, and it ends in EMFILE.",
        measured: "Descriptors of TCP sockets that no table lists, and of which the kernel says, twice, that they are closed \
                   and had received segments. Sockets that were never connected are not counted; what could not be asked is \
                   a gap.",
        to_do: "Mend the program: close() on every path, also when a read, a write or connect() fails. Destroying sockets or \
                changing TCP settings frees no descriptor.",
    },
    Explanation {
        rule: Rule::FdLimit,
        means: "Every socket is a descriptor. At RLIMIT_NOFILE a process gets EMFILE from socket(), accept() and open(); at \
             fs.file-max every process gets ENFILE.",
        measured: "The open descriptors of each process that holds a socket against its soft limit, and those of the host.",
        to_do: "Mend the leak when most of them are sockets in CLOSE-WAIT; else raise the limit to what the program needs.",
    },
    Explanation {
        rule: Rule::TimeWaitChurn,
        means: "Connections are opened and closed so fast that their TIME-WAIT fills a pool. TIME-WAIT is no leak: it ends \
             after 60 s.",
        measured: "The ports of a pool that a TIME-WAIT holds and that connect() may not take over (tcp_tw_reuse, timestamps, its \
             age).",
        to_do: "Keep connections and use them again. tcp_tw_reuse=1 lets connect() take over what is a second old. \
             tcp_fin_timeout does not shorten TIME-WAIT.",
    },
    Explanation {
        rule: Rule::ListenerBacklog,
        means: "Connections are made faster than the program accepts them. When the queue is full the kernel drops finished \
             handshakes: clients see slow connects and timeouts.",
        measured: "The accept queue of each listener against its limit, the smaller of listen()'s argument and net.core.somaxconn.",
        to_do: "Accept faster, or let more wait: a larger backlog and a larger somaxconn.",
    },
    Explanation {
        rule: Rule::PeerNotClosing,
        means: "This host has closed, the peer has not: at the peer these connections stand in CLOSE-WAIT. The leak is there.",
        measured: "FIN-WAIT-2 with one peer. Where the other ends are on this host their holder is named, and it is an Info, as it is where nobody here is harmed.",
        to_do: "Look at the peer. Where no process holds them the kernel ends them after tcp_fin_timeout.",
    },
    Explanation {
        rule: Rule::ConnectUnanswered,
        means: "Connections are asked for and nobody answers: the peer is down, a filter drops the packets, or its queues are \
             full. Each attempt holds a port for about two minutes.",
        measured: "SYN-SENT to one destination. Where as many connections to it are established, it is an Info: the client is busy.",
        to_do: "Look whether the destination answers; give connect() a timeout and let tries wait longer each time.",
    },
    Explanation {
        rule: Rule::Conntrack,
        means: "The firewall remembers every connection in a table. When it is full, the first packet of every new one is \
             dropped, and connect() hangs instead of failing.",
        measured: "nf_conntrack_count of each namespace against nf_conntrack_max.",
        to_do: "Raise nf_conntrack_max, shorten the timeouts of closed connections, or exempt traffic from tracking.",
    },
    Explanation {
        rule: Rule::RangeConflict,
        means: "A service listens on a port that connect() may be given. While it runs the port is merely lost; while it \
             restarts an outgoing connection may take the port, and the service fails with EADDRINUSE.",
        measured: "Listeners inside the ephemeral range whose port is not in ip_local_reserved_ports and was not chosen by the \
             kernel.",
        to_do: "Add their ports to net.ipv4.ip_local_reserved_ports, keeping what is in it.",
    },
    Explanation {
        rule: Rule::Growth,
        means: "Earlier looks show that something grows, and when it meets its limit: the ports to a destination, the descriptors \
             of a process, the files of the host, the table of tracked connections.",
        measured: "The slope of Theil and Sen over several horizons, held significant by the test of Mann and Kendall. What is \
             surely leaked is judged from minutes on; what is merely in use only against the same time of other days, so that \
             a morning is no growth. Too little is not known yet, and has no number.",
        to_do: "Act on the leak that fills it. The time that is left says how soon.",
    },
    Explanation {
        rule: Rule::Coverage,
        means: "Something could not be read. The report says what, why, and what may be hidden there.",
        measured: "Every read that failed or was forbidden is a gap. Gaps that may hide sockets, or a port range that is not \
             known, leave the verdict open; hidden processes do not, since every socket is counted all the same.",
        to_do: "Look again as root, or with the capability that the gap names.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::RULES;

    #[test]
    fn every_rule_and_every_state_has_words_of_its_own() {
        let mut texts: Vec<&str> = TcpState::ALL.into_iter().map(state).collect();
        for entry in RULES {
            let explanation = rule(entry.rule);
            assert_eq!(explanation.rule, entry.rule);
            texts.extend([explanation.means, explanation.measured, explanation.to_do]);
        }
        for text in &texts {
            assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        }
        let n = texts.len();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), n);
    }
}
