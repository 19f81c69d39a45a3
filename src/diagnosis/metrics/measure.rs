//! How each metric is measured. A reading that nothing contributes to is 0 where that is a fact, and unknown where it is not.

use super::Reading;
use crate::diagnosis::close_wait_leak;
use crate::diagnosis::coverage::are_ranges_known;
use crate::diagnosis::growth;
use crate::diagnosis::listener_backlog;
use crate::diagnosis::scene::{Scene, ports_share, share};
use crate::model::snapshot::{Gap, Hides, Namespace, ProcessScan, SourceKind};
use crate::model::socket::NetNsIndex;
use crate::model::text::printable;
use crate::model::wording::counted;
use crate::trend::forecast::Forecast;
use crate::trend::{Growth, Why};

/// The greatest of the values, and whose it is.
fn most(values: impl Iterator<Item = (f64, String)>) -> Option<(f64, String)> {
    values.max_by(|(a, _), (b, _)| a.total_cmp(b))
}

/// The greatest of the values; 0 when there are none.
fn greatest(values: impl Iterator<Item = (f64, String)>) -> Reading {
    match most(values) {
        Some((value, whose)) => Reading { value: Some(value), whose: Some(whose), unseen: None },
        None => Reading { value: Some(0.0), ..Reading::default() },
    }
}

/// Nothing is known, and why.
fn unknown(why: &str) -> Reading {
    Reading { unseen: Some(why.to_owned()), ..Reading::default() }
}

fn told(gap: &Gap) -> String {
    format!("not seen: {} ({})", printable(&gap.what), printable(&gap.why))
}

pub(super) fn ports(scene: &Scene<'_>) -> Reading {
    let pools = scene.census.port_pools.iter().map(|pool| {
        (ports_share(pool.used, pool.usable), format!("to {}{}", pool.destination, scene.place(pool.netns)))
    });
    let budgets = scene
        .census
        .snat
        .iter()
        .map(|budget| (share(budget.used, budget.limit.into()), format!("a NAT's to {}", budget.destination)));
    let known = most(pools.chain(budgets));
    if known.is_none() && !are_ranges_known(scene.snapshot) {
        return unknown("the ephemeral port range is not known");
    }
    greatest(known.into_iter())
}

pub(super) fn stuck(scene: &Scene<'_>) -> Reading {
    let blamed = close_wait_leak::blamed(scene);
    let reading = greatest(blamed.iter().map(|(owner, blame)| (blame.surely as f64, owner.who(scene))).filter(is_some));
    let possibly = blamed.iter().map(|(_, blame)| blame.possibly).max().unwrap_or(0);
    // Ages that are missing matter where they could make a difference.
    let could_matter = scene.policy.stuck.judge(possibly as f64).is_some();
    let unseen = format!("{} may be stuck, their ages are not known", counted(possibly, "socket", "sockets"));
    match could_matter {
        true if reading.whose.is_none() => unknown(&unseen),
        true => Reading { unseen: Some(unseen), ..reading },
        false => reading,
    }
}

fn is_some((value, _): &(f64, String)) -> bool {
    *value > 0.0
}

pub(super) fn fds(scene: &Scene<'_>) -> Reading {
    let processes = &scene.census.processes;
    let known = processes.iter().filter_map(|seen| {
        let process = scene.process(seen.process)?;
        let (open, limit) = process.fds_open.zip(process.fds_limit)?;
        Some((share(open, limit), scene.who(seen.process)))
    });
    let most = most(known);
    let unseen = hidden_processes(scene, Hides::Limits);
    match (most, unseen) {
        (None, None) if !processes.is_empty() => unknown("the descriptors of no process were counted"),
        (None, Some(why)) => unknown(&why),
        (most, unseen) => Reading { unseen, ..greatest(most.into_iter()) },
    }
}

pub(super) fn ghosts(scene: &Scene<'_>) -> Reading {
    if scene.snapshot.ghosts.is_none() {
        return unknown("descriptors of connections that are over were not looked for");
    }
    let known = scene.census.processes.iter().filter_map(|seen| {
        let held = seen.ghosts?;
        Some((held.count.saturating_sub(held.inherited) as f64, scene.who(seen.process)))
    });
    let known: Vec<_> = known.collect();
    let gap = scene.snapshot.gaps.iter().find(|gap| gap.hides == Hides::Ghosts).map(told);
    match gap.or_else(|| hidden_processes(scene, Hides::Ghosts)) {
        Some(why) if known.is_empty() => unknown(&why),
        unseen => Reading { unseen, ..greatest(known.into_iter().filter(is_some)) },
    }
}

/// Why processes whose descriptors nobody could count may be worse than those that were seen. Beside holders, what else may
/// be hidden matters too. A process that ended meanwhile is none of them.
fn hidden_processes(scene: &Scene<'_>, beside: Hides) -> Option<String> {
    if scene.snapshot.scan == ProcessScan::Skipped {
        return Some("processes were not looked for".to_owned());
    }
    let concerns = |gap: &&Gap| gap.lacks_permission() && (gap.hides == Hides::Owners || gap.hides == beside);
    scene.snapshot.gaps.iter().find(concerns).map(told)
}

pub(super) fn accept(scene: &Scene<'_>) -> Reading {
    let listeners = &scene.census.listeners;
    let known = listeners.iter().filter_map(|listener| {
        let used = listener_backlog::fullness(listener)?;
        Some((used, format!("{}{}", listener.local, scene.place(listener.netns))))
    });
    let reading = greatest(known);
    match listeners.iter().find(|listener| listener.limit.is_none() && listener.waiting > 0) {
        None => reading,
        Some(listener) => {
            let unseen = format!("how many connections may wait at {} is not known", listener.local);
            Reading { unseen: Some(unseen), ..reading }
        }
    }
}

/// The first wall of all. Where growth is known and none is near, there is no value and nothing that was not seen.
pub(super) fn eta(scene: &Scene<'_>) -> Reading {
    let first = scene.forecasts.first().and_then(|forecast| Some((forecast, forecast.eta_s()?)));
    if let Some((forecast, eta)) = first {
        return Reading { value: Some(eta), whose: Some(growth::what(scene, forecast)), unseen: None };
    }
    let why = |forecast: &Forecast| match forecast.trend.growth {
        Growth::Unknown(why) => Some(why),
        Growth::Flat | Growth::Growing(_) => None,
    };
    match scene.forecasts {
        [] => unknown("it needs several looks over time"),
        forecasts if forecasts.iter().any(|forecast| why(forecast).is_none()) => Reading::default(),
        [forecast, ..] => unknown(why(forecast).map_or("", Why::label)),
    }
}

pub(super) fn conntrack(scene: &Scene<'_>) -> Reading {
    let namespaces = scene.snapshot.namespaces.iter().zip(0..);
    let known = namespaces.filter_map(|(namespace, index)| {
        // No limit (kernel __nf_conntrack_alloc).
        let usage = namespace.conntrack.filter(|usage| usage.limit > 0)?;
        let place = scene.place(NetNsIndex(index));
        Some((share(usage.used, usage.limit), format!("connection tracking{place}")))
    });
    let most = most(known);
    // A kernel without such a table has none in any namespace, shows none in one that was entered, and leaves no gap.
    let was_entered = |namespace: &Namespace| {
        let is_live = matches!(namespace.source, SourceKind::Netlink | SourceKind::ProcText | SourceKind::Scripted);
        is_live && namespace.ports.range.is_some()
    };
    let unread = scene.snapshot.gaps.iter().find(|gap| gap.what.contains("nf_conntrack"));
    match (most, unread) {
        (None, Some(gap)) => unknown(&told(gap)),
        (None, None) if !scene.snapshot.namespaces.iter().any(was_entered) => {
            unknown("the connection tracking table could not be read")
        }
        (most, _) => greatest(most.into_iter()),
    }
}

pub(super) fn coverage(scene: &Scene<'_>) -> Reading {
    let coverage = scene.census.coverage;
    let value = match coverage.attributable {
        0 => 1.0,
        all => coverage.attributed as f64 / all as f64,
    };
    let whole = scene.snapshot.gaps.iter().find(|gap| gap.hides == Hides::Sockets).map(told);
    Reading { value: Some(value), whose: None, unseen: whole }
}
