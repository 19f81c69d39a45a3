//! Looks made by hand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use closewatch::model::past::{
    LimitKind, LimitMemory, Memory, NamespaceMemory, OtherMemory, PoolMemory, PoolName, ProcessMemory, Service,
    StuckMemory,
};
use closewatch::model::process::ProcessKey;
use closewatch::model::socket::SockCookie;
use closewatch::model::state::{StateCounts, TcpState};
use closewatch::model::tuple::Endpoint;

/// A Monday at midnight, UTC.
pub const START: u64 = 1_767_571_200;

pub const BOOT: &str = "6f9d3a52-6c1d-4f0e-9a1c-2f7a3c1e5b77";

/// So many seconds after the start.
pub fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START + seconds)
}

/// A look of this boot without anything in it. The boot was a day before the start.
pub fn empty(seconds: u64) -> Memory {
    Memory {
        taken_at: at(seconds),
        boot_id: Some(BOOT.to_owned()),
        uptime: Some(Duration::from_secs(86_400 + seconds)),
        verdict: "ok".to_owned(),
        attributed: true,
        namespaces: Vec::new(),
        processes: Vec::new(),
        other_processes: OtherMemory::default(),
        pools: Vec::new(),
        other_pools: OtherMemory::default(),
        limits: Vec::new(),
        stuck: Vec::new(),
        n_stuck: 0,
    }
}

pub fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        exe: Some(format!("/usr/bin/{name}")),
        unit: Some(format!("{name}.service")),
        container: None,
        netns: "init".to_owned(),
    }
}

pub fn process(name: &str, pid: u32, stuck: u64) -> ProcessMemory {
    ProcessMemory {
        service: service(name),
        key: ProcessKey { pid, start_ticks: u64::from(pid) * 100 },
        sockets: stuck + 20,
        close_wait: stuck + 3,
        stuck,
        ghosts: Some(2),
        fds_open: Some(stuck + 40),
        fds_limit: Some(65_536),
    }
}

pub fn pool_name(nth: u8) -> PoolName {
    let source = [10, 0, 0, 5].into();
    PoolName { netns: "init".to_owned(), source, destination: Endpoint::new([10, 0, 3, nth].into(), 8086) }
}

pub fn pool(nth: u8, stuck: u64) -> PoolMemory {
    PoolMemory { name: pool_name(nth), usable: 28_232, used: stuck + 10, stuck, holder: None }
}

pub fn stuck(cookie: u64, age_s: u64) -> StuckMemory {
    StuckMemory {
        cookie: SockCookie::new(cookie).expect("not 0"),
        age_at_least: Duration::from_secs(age_s),
        process: None,
    }
}

/// Numbers that look random and are the same every time (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

/// A look at a busy host: as many processes and pools as are listed, whose numbers move all the time.
pub fn busy(seconds: u64, numbers: &mut Numbers) -> Memory {
    let processes: Vec<ProcessMemory> = (0..32)
        .map(|nth| ProcessMemory {
            ghosts: Some(numbers.below(50)),
            fds_open: Some(1_000 + numbers.below(20_000)),
            ..process(&format!("service-{nth}"), 1_000 + nth, numbers.below(30_000))
        })
        .collect();
    let pools = (0..32).map(|nth| PoolMemory {
        holder: Some((usize::from(nth), numbers.below(5_000))),
        ..pool(nth, numbers.below(28_000))
    });
    let pools = pools.collect();
    let mut states = StateCounts::default();
    TcpState::ALL.into_iter().for_each(|state| states[state] = numbers.below(40_000));
    let namespaces = ["init", "web", "db"].map(|name| NamespaceMemory { name: name.to_owned(), states });
    let limit =
        |kind, netns: Option<&str>, used| LimitMemory { kind, netns: netns.map(str::to_owned), used, limit: 1 << 20 };
    let limits = vec![
        limit(LimitKind::FileMax, None, numbers.below(90_000)),
        limit(LimitKind::Conntrack, Some("init"), numbers.below(90_000)),
        limit(LimitKind::Orphans, None, numbers.below(900)),
        limit(LimitKind::TcpMem, None, numbers.below(90_000)),
    ];
    let other = OtherMemory { count: 40, sockets: numbers.below(4_000), stuck: numbers.below(10) };
    Memory {
        verdict: "warning".to_owned(),
        namespaces: namespaces.to_vec(),
        processes,
        other_processes: other,
        pools,
        other_pools: other,
        limits,
        ..empty(seconds)
    }
}
