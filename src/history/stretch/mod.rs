//! A stretch of time as the file has it: one look, or the looks of one hour, with numbers in place of names.

pub(super) mod code;

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;

use super::fault::Fault;
use super::names::{Dictionary, Name, NameId, Run};
use crate::model::numbers::{LimitNumbers, OtherNumbers, PoolNumbers, ProcessNumbers, Spread};
use crate::model::past::{LimitKind, Memory, OtherMemory, PoolMemory, ProcessMemory};
use crate::model::state::StateCounts;

/// The most rows of one kind that one look may have; the rest is counted with what is not listed. Callers list some dozens.
const MOST_ROWS: usize = 256;

pub(super) const HOUR_MS: i64 = 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) head: Head,
    pub(super) namespaces: Vec<(NameId, [Spread; 12])>,
    pub(super) processes: Vec<(NameId, ProcessNumbers)>,
    pub(super) other_processes: OtherNumbers,
    pub(super) pools: Vec<(NameId, PoolNumbers)>,
    pub(super) other_pools: OtherNumbers,
    pub(super) limits: Vec<(LimitId, LimitNumbers)>,
    pub(super) n_stuck: Spread,
}

/// What limit, and the namespace.
pub(super) type LimitId = (LimitKind, Option<NameId>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Head {
    /// The numbers of its first and last look.
    pub(super) first: u64,
    pub(super) last: u64,
    /// By the clock at the first and last look, in milliseconds since 1970.
    pub(super) began: i64,
    pub(super) ended: i64,
    /// Milliseconds since boot at the last look.
    pub(super) uptime: Option<u64>,
    /// How old the store was at the last look, in milliseconds.
    pub(super) life: u64,
    pub(super) boot: Option<NameId>,
    pub(super) verdict: String,
    /// Whether all looks looked for holders.
    pub(super) attributed: bool,
    /// Whether some look listed every pool: a pool that is missing had a moment without ports.
    pub(super) lists_pools: bool,
}

impl Head {
    /// The hour of the clock that the stretch began in, in milliseconds since 1970.
    pub(super) fn hour(&self) -> i64 {
        self.began.div_euclid(HOUR_MS) * HOUR_MS
    }

    pub(super) fn looks(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// The clock's time as it is stored.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The clock's time as it was stored; what no clock of this machine can say becomes 1970.
pub(super) fn system_time(ms: i64) -> SystemTime {
    let span = Duration::from_millis(ms.unsigned_abs());
    let time = if ms < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    time.unwrap_or(UNIX_EPOCH)
}

pub(super) fn uptime_ms(memory: &Memory) -> Option<u64> {
    memory.uptime.map(|uptime| uptime.as_millis() as u64)
}

/// The look with its names said. The caller numbers it and tells the age of the store.
pub(super) fn of_look(memory: &Memory, names: &mut Dictionary) -> Result<Stretch, Fault> {
    let boot = memory.boot_id.as_ref().map(|boot| names.say(&Name::Boot(boot.clone()))).transpose()?;
    let mut runs = Vec::new();
    let mut other_processes = memory.other_processes;
    for process in &memory.processes {
        if runs.len() == MOST_ROWS {
            leave_out(&mut other_processes, process.sockets, process.stuck);
            continue;
        }
        let service = names.say(&Name::Service(process.service.clone()))?;
        let run = names.say(&Name::Run(Run { service, boot, key: process.key }))?;
        runs.push((run, process_numbers(process)));
    }
    let mut pools = Vec::new();
    let mut other_pools = memory.other_pools;
    for pool in &memory.pools {
        if pools.len() == MOST_ROWS {
            leave_out(&mut other_pools, pool.used, pool.stuck);
            continue;
        }
        pools.push((names.say(&Name::Pool(pool.name.clone()))?, pool_numbers(pool, &runs)));
    }
    let taken_at = milliseconds(memory.taken_at);
    let head = Head {
        began: taken_at,
        ended: taken_at,
        uptime: uptime_ms(memory),
        boot,
        verdict: memory.verdict.clone(),
        attributed: memory.attributed,
        lists_pools: other_pools.count == 0,
        ..Head::default()
    };
    Ok(Stretch {
        head,
        namespaces: namespaces(memory, names)?,
        processes: runs,
        other_processes: other_numbers(other_processes),
        pools,
        other_pools: other_numbers(other_pools),
        limits: limits(memory, names)?,
        n_stuck: Spread::of(memory.n_stuck),
    })
}

fn leave_out(other: &mut OtherMemory, sockets: u64, stuck: u64) {
    other.count += 1;
    other.sockets += sockets;
    other.stuck += stuck;
}

fn process_numbers(process: &ProcessMemory) -> ProcessNumbers {
    ProcessNumbers {
        sockets: Spread::of(process.sockets),
        close_wait: Spread::of(process.close_wait),
        stuck: Spread::of(process.stuck),
        ghosts: process.ghosts.map(Spread::of),
        fds_open: process.fds_open.map(Spread::of),
        fds_limit: process.fds_limit,
        leaked: leaked(process.stuck, process.ghosts),
    }
}

/// What is surely leaked of a process. Without ghosts it is what is known.
pub(super) fn leaked(stuck: u64, ghosts: Option<u64>) -> u64 {
    stuck.saturating_add(ghosts.unwrap_or(0))
}

fn pool_numbers(pool: &PoolMemory, runs: &[(NameId, ProcessNumbers)]) -> PoolNumbers {
    let holder = pool.holder.and_then(|(index, count)| Some((runs.get(index)?.0, count)));
    PoolNumbers { usable: pool.usable, used: Spread::of(pool.used), stuck: Spread::of(pool.stuck), holder }
}

fn other_numbers(other: OtherMemory) -> OtherNumbers {
    let OtherMemory { count, sockets, stuck } = other;
    OtherNumbers { count: Spread::of(count), sockets: Spread::of(sockets), stuck: Spread::of(stuck) }
}

/// The fullest namespaces: a host of thousands of containers must not fill the store with empty ones.
fn namespaces(memory: &Memory, names: &mut Dictionary) -> Result<Vec<(NameId, [Spread; 12])>, Fault> {
    let mut fullest: Vec<_> = memory.namespaces.iter().collect();
    if fullest.len() > MOST_ROWS {
        fullest.sort_by_key(|namespace| std::cmp::Reverse(namespace.states.total()));
        fullest.truncate(MOST_ROWS);
    }
    let rows = fullest
        .into_iter()
        .map(|namespace| Ok((names.say(&Name::NetNs(namespace.name.clone()))?, state_spreads(&namespace.states))));
    rows.collect()
}

fn state_spreads(states: &StateCounts) -> [Spread; 12] {
    let mut spreads = [Spread::default(); 12];
    for (spread, (_, count)) in spreads.iter_mut().zip(states.iter()) {
        *spread = Spread::of(count);
    }
    spreads
}

fn limits(memory: &Memory, names: &mut Dictionary) -> Result<Vec<(LimitId, LimitNumbers)>, Fault> {
    let rows = memory.limits.iter().take(MOST_ROWS).map(|limit| {
        let netns = limit.netns.as_ref().map(|netns| names.say(&Name::NetNs(netns.clone()))).transpose()?;
        Ok(((limit.kind, netns), LimitNumbers { used: Spread::of(limit.used), limit: limit.limit }))
    });
    rows.collect()
}

impl Stretch {
    /// This stretch and the look right behind it.
    ///
    /// A run of a program has numbers of the looks that listed it. A pool that a look did not list though it listed all had
    /// no ports then.
    pub(super) fn then(self, look: Self) -> Self {
        let (lists_before, lists_after) = (self.head.lists_pools, look.head.lists_pools);
        let mut pools = self.pools;
        if lists_after {
            let listed: Vec<NameId> = look.pools.iter().map(|(id, _)| *id).collect();
            for (_, numbers) in pools.iter_mut().filter(|(id, _)| !listed.contains(id)) {
                *numbers = numbers.then(PoolNumbers::empty(numbers.usable));
            }
        }
        join(&mut pools, look.pools, PoolNumbers::then, |numbers| {
            if lists_before { PoolNumbers::empty(numbers.usable).then(numbers) } else { numbers }
        });
        let mut namespaces = self.namespaces;
        join(&mut namespaces, look.namespaces, states_then, |states| states);
        let mut processes = self.processes;
        join(&mut processes, look.processes, ProcessNumbers::then, |numbers| numbers);
        let mut limits = self.limits;
        join(&mut limits, look.limits, LimitNumbers::then, |numbers| numbers);
        Self {
            head: Head {
                first: self.head.first,
                began: self.head.began,
                attributed: self.head.attributed && look.head.attributed,
                lists_pools: lists_before || lists_after,
                ..look.head
            },
            namespaces,
            processes,
            other_processes: self.other_processes.then(look.other_processes),
            pools,
            other_pools: self.other_pools.then(look.other_pools),
            limits,
            n_stuck: self.n_stuck.then(look.n_stuck),
        }
    }
}

fn states_then(earlier: [Spread; 12], later: [Spread; 12]) -> [Spread; 12] {
    let mut joined = earlier;
    for (spread, later) in joined.iter_mut().zip(later) {
        *spread = spread.then(later);
    }
    joined
}

/// Adds later rows to earlier ones, each to the one of the same name; `fresh` makes the row of a name that is new.
fn join<K: Copy + Eq + std::hash::Hash, V: Copy>(
    rows: &mut Vec<(K, V)>,
    later: impl IntoIterator<Item = (K, V)>,
    then: impl Fn(V, V) -> V,
    fresh: impl Fn(V) -> V,
) {
    let places: HashMap<K, usize, RandomState> = rows.iter().enumerate().map(|(nth, (key, _))| (*key, nth)).collect();
    for (key, numbers) in later {
        match places.get(&key) {
            Some(place) => rows[*place].1 = then(rows[*place].1, numbers),
            None => rows.push((key, fresh(numbers))),
        }
    }
}
