//! Times the triage of a leaking host beside the rivals and beside the floor that the kernel sets, in one run.
//!
//! `cargo bench --bench rivals` (or `benches/rivals.sh`) makes a network namespace of its own, fills it with sockets in
//! CLOSE-WAIT held by child processes, and runs, in turns so that the noise of the machine falls on all alike:
//! - the floor: one dump that is received and thrown away, and one readlink per descriptor spread over the cores;
//! - `closewatch report` with and without attribution;
//! - `closewatch check` without attribution, with and without a history of two days;
//! - `ss -tan` and `ss -tanp`, and `ss -tan | awk`.
//!
//! Then one poll of Zabbix beside the `ss` for each state that its community has: see `poll`. With the argument `poll` only that.
//!
//! What it prints are medians, and ratios between them.

#[path = "rivals/poll.rs"]
mod poll;

use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use closewatch::census::memory::MOST_NAMED;
use closewatch::history::{Access, History};
use closewatch::model::past::{
    LimitKind, LimitMemory, Memory, NamespaceMemory, OtherMemory, PoolMemory, PoolName, ProcessMemory, Service,
};
use closewatch::model::process::ProcessKey;
use closewatch::model::state::StateCounts;
use closewatch::model::tuple::Endpoint;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

const HOLD: &str = "CLOSEWATCH_BENCH_HOLD";
const INSIDE: &str = "CLOSEWATCH_BENCH_INSIDE";
/// Descriptors per holding process: with those that are being closed below the hard limit of common machines (20,000).
const PER_PROCESS: usize = 15_000;
const ROUNDS: usize = 9;
/// How many connections of a holder are half closed before the first of them is closed.
const CLOSING: usize = 4_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    if let Ok(task) = std::env::var(HOLD) {
        return hold(&task);
    }
    if std::env::var_os(INSIDE).is_none() {
        return enter_namespace();
    }
    let mut out = std::io::stdout().lock();
    let sizes: Vec<usize> = match std::env::var("CLOSEWATCH_BENCH_SOCKETS") {
        Ok(sizes) => sizes.split(',').map(str::parse).collect::<Result<_, _>>()?,
        Err(_) => vec![60_000, 300_000],
    };
    if !std::env::args().any(|argument| argument == "poll") {
        start_up(&mut out)?;
        let mut costs = Vec::new();
        for size in sizes {
            let crowd = Crowd::gather(size, PER_PROCESS)?;
            costs.push((size, measure(size, &mut out)?));
            drop(crowd);
        }
        costs.windows(2).try_for_each(|pair| compare(pair[0], pair[1], &mut out))?;
    }
    poll::measure(&mut out)
}

/// Starts this program again in a network namespace of its own with its loopback up.
fn enter_namespace() -> Outcome<()> {
    let mut unshare = Command::new("unshare");
    unshare.arg("--net");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let status = unshare
        .args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe()?)
        .args(std::env::args().skip(1))
        .env(INSIDE, "1")
        .status()?;
    if status.success() { Ok(()) } else { Err("the benchmark needs `unshare`, `ip` and a network namespace".into()) }
}

/// The child: makes its share of sockets, says so, and holds them until its input ends.
fn hold(task: &str) -> Outcome<()> {
    let (nth, count) = task.split_once(':').ok_or("a task is NTH:COUNT")?;
    let (nth, count): (u8, usize) = (nth.parse()?, count.parse()?);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 1, nth), 8086))?;
    let address = listener.local_addr()?;
    let mut held = Vec::with_capacity(count);
    // Closed in two steps with a while between them: where the acknowledgement of the FIN comes during close(), the connection
    // may be reset, and leaves no CLOSE-WAIT but a ghost.
    let mut closing = VecDeque::new();
    for _ in 0..count {
        held.push(TcpStream::connect(address)?);
        let (peer, _) = listener.accept()?;
        peer.shutdown(Shutdown::Write)?;
        closing.push_back(peer);
        if closing.len() > CLOSING {
            closing.pop_front();
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    drop(closing);
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// The processes that hold the sockets.
struct Crowd(Vec<Child>);

impl Crowd {
    fn gather(sockets: usize, per_process: usize) -> Outcome<Self> {
        std::fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1")?;
        let mut crowd = Self(Vec::new());
        for nth in 0..sockets.div_ceil(per_process) {
            let count = per_process.min(sockets - nth * per_process);
            let child = Command::new(std::env::current_exe()?)
                .env(HOLD, format!("{}:{count}", nth + 1))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            crowd.0.push(child);
        }
        for child in &mut crowd.0 {
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().ok_or("a pipe")?).read_line(&mut line)?;
            if line != "ready\n" {
                return Err("a child could not make its sockets".into());
            }
        }
        let deadline = Instant::now() + Duration::from_secs(90);
        while !std::fs::read_to_string("/proc/net/sockstat")?.contains(" tw 0 ") {
            if Instant::now() > deadline {
                return Err("the peers' halves did not go away".into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let listed = Command::new("ss").args(["-Htn", "state", "close-wait"]).output()?;
        let counted = listed.stdout.lines().count();
        if counted < sockets {
            // Some were reset all the same, and the report looks twice at what they left.
            let ghosts = sockets - counted;
            writeln!(std::io::stdout(), "\nbeside {counted} CLOSE-WAIT there are {ghosts} ghosts")?;
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

fn start_up(out: &mut impl Write) -> Outcome<()> {
    let times = (0..200).map(|_| closewatch(&["--version"])).collect::<Outcome<Vec<_>>>()?;
    writeln!(out, "start-up (`--version`)      {:>9.2} ms, median of 200", millis(median(times)))?;
    Ok(())
}

/// What the looks at one number of sockets took: the bare dump, the bare links, the report and the counts.
type Cost = [Took; 4];

/// How long the rounds of one kind took. The noise of a machine only adds: the best tells what the work itself costs.
#[derive(Debug, Clone, Copy)]
struct Took {
    median: Duration,
    best: Duration,
}

impl Took {
    fn of(times: &[Duration]) -> Self {
        Self { median: median(times.to_vec()), best: times.iter().min().copied().unwrap_or_default() }
    }
}

/// By how much more sockets cost more.
fn compare((fewer, small): (usize, Cost), (more, large): (usize, Cost), out: &mut impl Write) -> Outcome<()> {
    writeln!(out, "\n{more} sockets against {fewer}, {:.2} times as many:", more as f64 / fewer as f64)?;
    let rows = [("kernel alone: dump", 0), ("kernel alone: links", 1), ("report (at most as many)", 2), ("counts", 3)];
    for (name, nth) in rows {
        let times = |of: fn(Took) -> Duration| of(large[nth]).as_secs_f64() / of(small[nth]).as_secs_f64();
        let (median, best) = (times(|took| took.median), times(|took| took.best));
        writeln!(out, "  {name:<24} {median:>6.2}   (best against best {best:.2})")?;
    }
    Ok(())
}

fn measure(sockets: usize, out: &mut impl Write) -> Outcome<Cost> {
    let names =
        ["bare dump", "bare links", "report", "counts", "ss -tan", "ss -tanp", "ss | awk", "check", "no history"];
    let mut rows: Vec<(&str, Vec<Duration>)> = names.into_iter().map(|name| (name, Vec::new())).collect();
    // Neither does ss read a history: what that costs is a row of its own.
    let report = ["report", "--netns", "current", "--json", "--no-history"];
    // The largest child so far, in the first round: the holders are not waited for yet. It counts what it had of this program
    // before it became another one, so that the history, which is large while it is made, comes later.
    let mut peak_kib = 0;
    let directory = tempfile::tempdir()?;
    let history = directory.path().join("history.db").display().to_string();
    for round in 0..ROUNDS {
        rows[0].1.push(bare_dump()?);
        rows[1].1.push(bare_links()?);
        rows[2].1.push(closewatch(&report)?);
        if round == 0 {
            peak_kib = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
            fill(&history)?;
        }
        rows[3].1.push(closewatch(&[&report[..], &["--no-processes"]].concat())?);
        rows[4].1.push(timed("ss", &["-tan"])?);
        if round == 0 || sockets <= 60_000 {
            rows[5].1.push(timed("ss", &["-tanp"])?);
        }
        rows[6]
            .1
            .push(timed("sh", &["-c", "ss -tan | awk '{ n[$1]++ } END { for (state in n) print state, n[state] }'"])?);
        let check = ["check", "--netns", "current", "--no-processes"];
        rows[7].1.push(closewatch(&[&check[..], &["--history", &history]].concat())?);
        rows[8].1.push(closewatch(&[&check[..], &["--no-history"]].concat())?);
    }
    writeln!(out, "\n{sockets} CLOSE-WAIT in {} processes, medians:", sockets.div_ceil(PER_PROCESS))?;
    let medians: Vec<Duration> = rows.iter().map(|(_, times)| median(times.clone())).collect();
    for ((name, times), median) in rows.iter().zip(&medians) {
        let best = times.iter().min().copied().unwrap_or_default();
        writeln!(out, "  {name:<12} {:>9.1} ms   (best {:>9.1})", millis(*median), millis(best))?;
    }
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    writeln!(out, "  report / `ss -tanp`                  {:.3}   (at most 0.125)", ratio(medians[2], medians[5]))?;
    let floor = medians[0] + medians[1];
    writeln!(out, "  report / (bare dump + bare links)    {:.2}   (below 1.5)", ratio(medians[2], floor))?;
    writeln!(out, "  counts / `ss -tan`                   {:.2}   (at most 0.5)", ratio(medians[3], medians[4]))?;
    writeln!(out, "  check / (`ss -tan` and awk)           {:.2}   (at most 1)", ratio(medians[7], medians[6]))?;
    let extra = millis(medians[7]) - millis(medians[8]);
    writeln!(out, "  what the history adds                {extra:.1} ms   (opening it alone: benches/history.rs)")?;
    writeln!(out, "  peak memory of the report            {:.1} MiB (below 64 at 60,000)", peak_kib as f64 / 1024.0)?;
    Ok([0, 1, 2, 3].map(|nth: usize| Took::of(&rows[nth].1)))
}

/// A history of two days of looks every five minutes and three months before them, of as many processes and pools as are
/// remembered by name.
fn fill(path: &str) -> Outcome<()> {
    let mut history = History::open(Path::new(path), Access::ReadWrite)?;
    let now = SystemTime::now();
    let hours = (48..90 * 24).rev().map(|hour| Duration::from_secs(hour * 3_600));
    let looks = (1..48 * 12).rev().map(|look| Duration::from_secs(look * 300));
    let memories: Vec<Memory> = hours.chain(looks).map(|ago| memory(now - ago, ago)).collect();
    for some in memories.chunks(100) {
        history.remember_all(some)?;
    }
    Ok(())
}

fn memory(taken_at: SystemTime, ago: Duration) -> Memory {
    let grown = 60_000 - ago.as_secs() / 200;
    let address = |nth: usize| IpAddr::from(Ipv4Addr::new(127, 0, 1, nth as u8));
    let process = |nth: usize| ProcessMemory {
        service: Service {
            name: format!("service-{nth}"),
            exe: Some(format!("/usr/bin/service-{nth}")),
            unit: Some(format!("service-{nth}.service")),
            container: None,
            netns: "init".to_owned(),
        },
        key: ProcessKey { pid: 1_000 + nth as u32, start_ticks: 77 },
        sockets: grown / 4,
        close_wait: grown / 5,
        stuck: grown / 6,
        ghosts: Some(0),
        fds_open: Some(grown / 4),
        fds_limit: Some(65_536),
    };
    let pool = |nth: usize| PoolMemory {
        name: PoolName { netns: "init".to_owned(), source: address(0), destination: Endpoint::new(address(nth), 8086) },
        usable: 28_232,
        used: grown / 4,
        stuck: grown / 6,
        holder: Some((nth, grown / 5)),
    };
    Memory {
        taken_at,
        boot_id: None,
        uptime: None,
        verdict: "ok".to_owned(),
        attributed: true,
        namespaces: vec![NamespaceMemory { name: "init".to_owned(), states: StateCounts::default() }],
        processes: (0..MOST_NAMED).map(process).collect(),
        other_processes: OtherMemory::default(),
        pools: (0..MOST_NAMED).map(pool).collect(),
        other_pools: OtherMemory::default(),
        limits: vec![LimitMemory { kind: LimitKind::FileMax, netns: None, used: grown, limit: 1_000_000 }],
        stuck: Vec::new(),
        n_stuck: 0,
    }
}

/// The kernel's part of a dump: IPv4 and IPv6 in one walk, every state, nothing asked beside, received and thrown away.
fn bare_dump() -> Outcome<Duration> {
    let start = Instant::now();
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // struct nlmsghdr, then struct inet_diag_req (linux/inet_diag.h): type 18 is TCPDIAG_GETSOCK, flags REQUEST | DUMP.
    let mut request = vec![0_u8; 16 + 60];
    request[0..4].copy_from_slice(&76_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&18_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    request[16 + 52..16 + 56].copy_from_slice(&0x3FFE_u32.to_ne_bytes());
    socket.send(&request, 0)?;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let received = socket.recv(&mut &mut buffer[..], 0)?;
        // NLMSG_DONE comes as the last message of its datagram, or alone.
        let mut at = 0;
        while at + 16 <= received {
            let length = u32::from_ne_bytes(buffer[at..at + 4].try_into()?) as usize;
            match u16::from_ne_bytes(buffer[at + 4..at + 6].try_into()?) {
                3 => return Ok(start.elapsed()),
                2 => return Err("the kernel refused the dump".into()),
                _ => at += length.max(16).next_multiple_of(4),
            }
        }
    }
}

/// One readlink per descriptor of every process, spread over the cores by process.
fn bare_links() -> Outcome<Duration> {
    let start = Instant::now();
    let processes: Vec<_> = std::fs::read_dir("/proc")?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .map(|entry| entry.path().join("fd"))
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(dir) = processes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    read_links_of(dir);
                }
            });
        }
    });
    Ok(start.elapsed())
}

fn read_links_of(dir: &std::path::Path) {
    use rustix::fs::{Mode, OFlags, RawDir, open, readlinkat_raw};
    use std::mem::MaybeUninit;
    let Ok(fd) = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let mut names = [MaybeUninit::<u8>::uninit(); 32 * 1024];
    let mut entries = RawDir::new(&fd, &mut names);
    while let Some(Ok(entry)) = entries.next() {
        let mut target = [MaybeUninit::<u8>::uninit(); 64];
        let _ = readlinkat_raw(&fd, entry.file_name(), &mut target);
    }
}

fn closewatch(args: &[&str]) -> Outcome<Duration> {
    timed(env!("CARGO_BIN_EXE_closewatch"), args)
}

fn timed(program: &str, args: &[&str]) -> Outcome<Duration> {
    let start = Instant::now();
    let status = Command::new(program).args(args).stdout(Stdio::null()).status()?;
    let took = start.elapsed();
    // A check grades: 1 and 2 are what it found.
    let found = args.first() == Some(&"check") && matches!(status.code(), Some(1 | 2));
    if status.success() || found { Ok(took) } else { Err(format!("{program} {args:?} ended with {status}").into()) }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
