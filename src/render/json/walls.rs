//! `walls[]`: of each kind of limit the one that is nearest, and every other that something is seen to grow towards. Without
//! earlier looks it is not known what grows.

use super::findings::SubjectRow;
use crate::census::memory::pool_name;
use crate::census::pools::PortPool;
use crate::diagnosis::finding::Subject;
use crate::model::past::{LimitKind, Track};
use crate::model::process::ProcessIndex;
use crate::model::snapshot::Usage;
use crate::model::socket::NetNsIndex;
use crate::render::words::share;
use crate::report::Report;
use crate::trend::Growth;
use crate::trend::forecast::Forecast;

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
/// limits of the host; then what else grows.
pub(super) fn of<'a>(report: &'a Report<'_>) -> Vec<Wall<'a>> {
    let mut walls = Vec::new();
    let mut told: Vec<&Track> = Vec::new();
    for near in nearest(report) {
        let forecast = report.forecasts.iter().find(|forecast| is_of(report, forecast, &near));
        told.extend(forecast.map(|forecast| &forecast.track));
        walls.push(wall(report, &near, forecast));
    }
    let grows = |forecast: &&Forecast| matches!(forecast.trend.growth, Growth::Growing(_));
    let others = report.forecasts.iter().filter(grows).filter(|forecast| !told.contains(&&forecast.track));
    walls.extend(others.filter_map(|forecast| Some(wall(report, &near_of(report, forecast)?, Some(forecast)))));
    walls
}

/// A limit, and how much of it is used.
struct Near {
    kind: &'static str,
    subject: Subject,
    usage: Usage,
}

fn wall<'a>(report: &'a Report<'_>, near: &Near, forecast: Option<&Forecast>) -> Wall<'a> {
    let rate = forecast.and_then(|forecast| match forecast.trend.growth {
        Growth::Growing(rate) => Some(rate),
        Growth::Flat | Growth::Unknown(_) => None,
    });
    Wall {
        kind: near.kind,
        subject: SubjectRow::of(report, &near.subject),
        used: near.usage.used,
        limit: near.usage.limit,
        growth_per_hour: rate.map(|rate| rate.per_hour),
        eta_s: forecast.and_then(Forecast::eta_s),
        significant: forecast.map(|_| rate.is_some()),
    }
}

fn nearest(report: &Report<'_>) -> Vec<Near> {
    let mut nearest = Vec::new();
    for (nth, namespace) in report.snapshot.namespaces.iter().enumerate() {
        let netns = NetNsIndex(nth as u32);
        nearest.extend(fullest_pool(report, netns).map(near_pool));
        let conntrack = |usage| Near { kind: "conntrack", subject: Subject::Namespace(netns), usage };
        nearest.extend(namespace.conntrack.map(conntrack));
    }
    nearest.extend(report.census.snat.first().map(|budget| Near {
        kind: "snat",
        subject: Subject::Snat { destination: budget.destination },
        usage: Usage { used: budget.used, limit: budget.limit.into() },
    }));
    nearest.extend(nearest_fd_limit(report).map(|(index, usage)| Near {
        kind: "fds",
        subject: Subject::Process(index),
        usage,
    }));
    let limits = &report.snapshot.limits;
    for (kind, usage) in [
        (LimitKind::FileMax, limits.files),
        (LimitKind::Orphans, limits.orphans),
        (LimitKind::TcpMem, limits.tcp_mem_pages),
    ] {
        nearest.extend(usage.map(|usage| Near { kind: kind.token(), subject: Subject::Host, usage }));
    }
    nearest
}

fn near_pool(pool: &PortPool) -> Near {
    Near {
        kind: "ports",
        subject: Subject::PortPool { netns: pool.netns, source: pool.source, destination: pool.destination },
        usage: Usage { used: pool.used.into(), limit: pool.usable.into() },
    }
}

/// The limit that a forecast is of; `None` when it is not of this look.
fn near_of(report: &Report<'_>, forecast: &Forecast) -> Option<Near> {
    let usage = Usage { used: forecast.now.used as u64, limit: forecast.now.limit? as u64 };
    match &forecast.track {
        Track::Ports(name) => {
            report.census.port_pools.iter().find(|pool| pool_name(report.snapshot, pool) == *name).map(near_pool)
        }
        Track::Descriptors(_) => {
            let place = report.snapshot.processes.iter().position(|process| Some(process.key) == forecast.holder)?;
            Some(Near { kind: "fds", subject: Subject::Process(ProcessIndex(place as u32)), usage })
        }
        Track::Limit(kind, Some(netns)) => {
            let place = report.snapshot.namespaces.iter().position(|namespace| namespace.id.name == *netns)?;
            Some(Near { kind: kind.token(), subject: Subject::Namespace(NetNsIndex(place as u32)), usage })
        }
        Track::Limit(kind, None) => Some(Near { kind: kind.token(), subject: Subject::Host, usage }),
    }
}

fn is_of(report: &Report<'_>, forecast: &Forecast, near: &Near) -> bool {
    near_of(report, forecast).is_some_and(|of| of.kind == near.kind && of.subject == near.subject)
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
