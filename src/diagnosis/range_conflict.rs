//! Listeners inside the ephemeral range whose port is not reserved, and reservations that eat the range up.
//!
//! As long as such a service runs, its port is merely lost to every `connect()`: an Info. Once it stops, its port is handed out
//! like any other, and it cannot start again while somebody has it. That is a warning when a pool of the namespace is as full
//! as `ports` says: from half the range on, the port is rather taken than free. A listener whose port the kernel chose takes
//! another one the next time, and is left out.

use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, ports_share};
use crate::model::process::ProcessIndex;
use crate::model::snapshot::Namespace;
use crate::model::socket::NetNsIndex;
use crate::model::wording::{count, counted, percent};

/// How many listeners a sentence names.
const NAMED: usize = 3;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let namespaces = scene.snapshot.namespaces.iter().zip(0..);
    let both = |(namespace, index)| {
        let netns = NetNsIndex(index);
        [listeners(scene, netns), reservations(scene, namespace, netns)]
    };
    namespaces.flat_map(both).flatten().collect()
}

fn listeners(scene: &Scene<'_>, netns: NetNsIndex) -> Option<Finding> {
    let inside = scene.census.listeners.iter().filter(|listener| {
        listener.netns == netns && listener.in_ephemeral_range && scene.chose_its_port(listener.socket)
    });
    let mut owners: Vec<(u16, Option<ProcessIndex>)> =
        inside.map(|listener| (listener.local.port, listener.holders.first().copied())).collect();
    owners.sort_unstable();
    owners.dedup_by_key(|(port, _)| *port);
    if owners.is_empty() {
        return None;
    }
    let fullest = fullest_share(scene, netns);
    let tight = scene.policy.ports.grade(fullest).is_some();
    let severity = if tight { Severity::Warning } else { Severity::Info };
    let named: Vec<String> = owners
        .iter()
        .take(NAMED)
        .map(|(port, holder)| match holder {
            Some(holder) => format!("{port} of {}", scene.who(*holder)),
            None => port.to_string(),
        })
        .collect();
    let ports: Vec<u16> = owners.iter().map(|(port, _)| *port).collect();
    let n = ports.len() as u64;
    Some(Finding {
        rule: Rule::RangeConflict,
        severity,
        confidence: if tight { Confidence::Likely } else { Confidence::Certain },
        subject: Subject::Namespace(netns),
        summary: format!(
            "{} inside the ephemeral range{} and not reserved: {}{}",
            counted(n, "listener is", "listeners are"),
            scene.place(netns),
            named.join(", "),
            remedy::and_more(owners.len().saturating_sub(NAMED), "port", "ports")
        ),
        details: vec![if tight {
            format!(
                "When such a service restarts, its port has probably been handed out: {} of the ports are in use. It then \
                 fails with EADDRINUSE.",
                percent(fullest)
            )
        } else {
            "Their ports are lost to every connect(), and after a restart of the service an outgoing connection may have \
             taken its port."
                .to_owned()
        }],
        evidence: vec![
            Evidence::count("listeners_in_range", n, None, Unit::Ports),
            Evidence::ratio("ports_used_ratio", fullest, scene.policy.ports.of(Severity::Warning)),
        ],
        remedies: vec![remedy::reserve_ports(scene, netns, &ports)],
        will_not_help: vec![
            "SO_REUSEADDR does not let a service take a port that an outgoing connection holds".to_owned(),
        ],
    })
}

/// The used share of the fullest pool: at least so many of the ports are in use.
fn fullest_share(scene: &Scene<'_>, netns: NetNsIndex) -> f64 {
    let pools = scene.census.port_pools.iter().filter(|pool| pool.netns == netns);
    pools.map(|pool| ports_share(pool.used, pool.usable)).fold(0.0, f64::max)
}

fn reservations(scene: &Scene<'_>, namespace: &Namespace, netns: NetNsIndex) -> Option<Finding> {
    let range = namespace.ports.range?;
    let reserved = namespace.ports.reserved.as_ref()?.iter().filter(|port| range.contains(*port)).count() as u64;
    if reserved * 2 < u64::from(range.span()) {
        return None;
    }
    Some(Finding {
        rule: Rule::RangeConflict,
        severity: Severity::Info,
        confidence: Confidence::Certain,
        subject: Subject::Namespace(netns),
        summary: format!(
            "{} of the {} ports of the ephemeral range{} are reserved and never handed out",
            count(reserved),
            count(range.span().into()),
            scene.place(netns)
        ),
        details: vec![
            "ip_local_reserved_ports takes ports out of ip_local_port_range; at least half are gone.".to_owned(),
        ],
        evidence: vec![
            Evidence::count("ports_reserved", reserved, None, Unit::Ports),
            Evidence::count("ports_in_range", range.span().into(), None, Unit::Ports),
        ],
        remedies: vec![Remedy::new(
            When::Soon,
            "reserve only what a service needs, or move the range away from the reserved block",
        )],
        will_not_help: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::{Script, endpoint};
    use crate::model::socket::PortBinding;

    #[test]
    fn a_listener_in_the_range_is_worth_knowing_and_gets_its_reservation() {
        let mut script = Script::new();
        let process = script.process("mysqld", 5);
        script.listener(process, 33_060);
        script.listener(process, 33_060);
        let finding = script.only(Rule::RangeConflict);
        assert_eq!(finding.severity, Severity::Info);
        assert_eq!(finding.summary, "1 listener is inside the ephemeral range and not reserved: 33060 of mysqld[5]");
        let command = finding.remedies[0].command.as_deref();
        assert_eq!(command, Some("sysctl -w net.ipv4.ip_local_reserved_ports=33060"));
    }

    #[test]
    fn it_warns_when_the_port_would_probably_be_taken_at_a_restart() {
        let mut script = Script::new();
        let process = script.process("mysqld", 5);
        script.listener(process, 33_060);
        script.pool(endpoint("10.0.3.7:443"), 14_200);
        assert_eq!(script.only(Rule::RangeConflict).severity, Severity::Warning);
    }

    #[test]
    fn ports_that_the_kernel_chose_and_ports_outside_are_no_finding() {
        let mut script = Script::new();
        let process = script.process("rpc.statd", 5);
        let socket = script.listener(process, 40_000).socket;
        script.snapshot.sockets[socket].binding = PortBinding::Auto;
        script.listener(process, 3306);
        script.none(Rule::RangeConflict);
    }

    #[test]
    fn reservations_that_eat_the_range_up_are_worth_knowing() {
        let mut script = Script::new();
        script.namespace().ports.reserved = Some((32_768..=50_000).collect());
        let finding = script.only(Rule::RangeConflict);
        assert_eq!(finding.severity, Severity::Info);
        assert!(finding.summary.starts_with("17,233 of the 28,232 ports"), "{}", finding.summary);
    }
}
