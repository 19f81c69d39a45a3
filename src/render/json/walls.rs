//! `walls[]`: of each kind of limit the one that is nearest. What grows towards it is not known from one look.

use super::findings::SubjectRow;
use crate::census::pools::PortPool;
use crate::diagnosis::finding::Subject;
use crate::model::process::ProcessIndex;
use crate::model::snapshot::Usage;
use crate::model::socket::NetNsIndex;
use crate::render::words::share;
use crate::report::Report;

/// One of `walls[]`.
#[derive(serde::Serialize)]
pub(super) struct Wall<'a> {
    kind: &'static str,
    subject: SubjectRow<'a>,
    used: u64,
    limit: u64,
    growth_per_hour: Option<f64>,
    eta_s: Option<f64>,
    significant: Option<bool>,
}

/// The walls: ports and conntrack for each namespace, descriptors of the process that is nearest to its limit, and the
/// limits of the host.
pub(super) fn of<'a>(report: &'a Report<'_>) -> Vec<Wall<'a>> {
    let wall = |kind, subject: &Subject, usage: Usage| Wall {
        kind,
        subject: SubjectRow::of(report, subject),
        used: usage.used,
        limit: usage.limit,
        growth_per_hour: None,
        eta_s: None,
        significant: None,
    };
    let mut walls = Vec::new();
    for (nth, namespace) in report.snapshot.namespaces.iter().enumerate() {
        let netns = NetNsIndex(nth as u32);
        if let Some(pool) = fullest_pool(report, netns) {
            let subject = Subject::PortPool { netns, source: pool.source, destination: pool.destination };
            let usage = Usage { used: u64::from(pool.used), limit: u64::from(pool.usable) };
            walls.push(wall("ports", &subject, usage));
        }
        walls.extend(namespace.conntrack.map(|usage| wall("conntrack", &Subject::Namespace(netns), usage)));
    }
    walls.extend(report.census.snat.first().map(|budget| {
        let usage = Usage { used: budget.used, limit: budget.limit.into() };
        wall("snat", &Subject::Snat { destination: budget.destination }, usage)
    }));
    walls.extend(nearest_fd_limit(report).map(|(index, usage)| wall("fds", &Subject::Process(index), usage)));
    let limits = &report.snapshot.limits;
    for (kind, usage) in [("file_max", limits.files), ("orphans", limits.orphans), ("tcp_mem", limits.tcp_mem_pages)] {
        walls.extend(usage.map(|usage| wall(kind, &Subject::Host, usage)));
    }
    walls
}

fn fullest_pool<'a>(report: &'a Report<'_>, netns: NetNsIndex) -> Option<&'a PortPool> {
    let pools = report.census.port_pools.iter().filter(|pool| pool.netns == netns);
    pools.max_by(|a, b| share(a.used, a.usable).total_cmp(&share(b.used, b.usable)))
}

fn nearest_fd_limit(report: &Report<'_>) -> Option<(ProcessIndex, Usage)> {
    let usages = report.snapshot.processes.iter().enumerate().filter_map(|(nth, process)| {
        let limit = process.fds_limit.filter(|limit| *limit != u64::MAX)?;
        Some((ProcessIndex(nth as u32), Usage { used: process.fds_open?, limit }))
    });
    let share = |usage: &Usage| usage.used as f64 / usage.limit.max(1) as f64;
    usages.max_by(|(_, a), (_, b)| share(a).total_cmp(&share(b)))
}
