//! One poll of Zabbix beside what the templates of the community do: count each of the eleven states with an `ss` of its own.
//!
//! Both in turns, by the same shell, with all CPU that they and their children take; the poll as root and as the user of the
//! agent, each with a history of its own, as it has in use.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::{Crowd, Outcome, ROUNDS, median, millis};

const SOCKETS: usize = 60_000;
const PER_PROCESS: usize = 300;

/// The bounds of the answer: what the agent of Zabbix 6.0 hands on, and well below its time limit.
const MOST_BYTES: usize = 512 * 1024;
const LONGEST: Duration = Duration::from_secs(1);

/// The states, as `ss` writes them.
const STATES: [&str; 11] = [
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
];

/// What one poll took.
#[derive(Clone, Copy, Default)]
struct Taken {
    wall: Duration,
    cpu: Duration,
    bytes: usize,
}

/// Fills the namespace, polls it, and prints the figures.
pub(super) fn measure(out: &mut impl Write) -> Outcome<()> {
    let crowd = Crowd::gather(SOCKETS, PER_PROCESS)?;
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777))?;
    let program = dir.path().join("closewatch");
    fs::copy(env!("CARGO_BIN_EXE_closewatch"), &program)?;
    let agent = agent_user();
    let (mut root, mut other, mut community) = (Vec::new(), Vec::new(), Vec::new());
    // The first look has nothing to compare with; those of the agent have.
    poll(&program, None)?;
    agent.map(|user| poll(&program, Some(user))).transpose()?;
    for _ in 0..ROUNDS {
        root.push(poll(&program, None)?);
        other.extend(agent.map(|user| poll(&program, Some(user))).transpose()?);
        community.push(count_each_state()?);
    }
    drop(crowd);
    writeln!(out, "\none poll of Zabbix, {SOCKETS} CLOSE-WAIT in {} processes, medians:", SOCKETS / PER_PROCESS)?;
    let theirs = print(out, "ss, once for each state", &community)?;
    for (who, polls) in [("root".to_owned(), root), (format!("user {}", agent.unwrap_or("-")), other)] {
        if polls.is_empty() {
            writeln!(out, "  as another user: not measured, that needs root")?;
            continue;
        }
        let ours = print(out, &format!("check, as {who}"), &polls)?;
        let slowest = polls.iter().map(|poll| poll.wall).max().unwrap_or_default();
        let largest = polls.iter().map(|poll| poll.bytes).max().unwrap_or_default();
        let ratio = ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64();
        writeln!(out, "    CPU, against ss                    {ratio:.2}   (below 1)")?;
        writeln!(
            out,
            "    slowest answer                     {:.0} ms (below {:.0})",
            millis(slowest),
            millis(LONGEST)
        )?;
        writeln!(out, "    largest answer                     {} bytes (below {MOST_BYTES})", largest)?;
    }
    Ok(())
}

fn print(out: &mut impl Write, name: &str, polls: &[Taken]) -> Outcome<Taken> {
    let of = |part: fn(&Taken) -> Duration| median(polls.iter().map(part).collect());
    let taken = Taken { wall: of(|poll| poll.wall), cpu: of(|poll| poll.cpu), bytes: 0 };
    writeln!(out, "  {name:<26} {:>9.1} ms   {:>9.1} ms of CPU", millis(taken.wall), millis(taken.cpu))?;
    Ok(taken)
}

/// The user that an agent has here, or at least one that may not look into the processes of root.
fn agent_user() -> Option<&'static str> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_known = |user: &&str| users.lines().any(|line| line.split(':').next() == Some(user));
    rustix::process::geteuid().is_root().then(|| ["zabbix", "nobody"].into_iter().find(is_known)).flatten()
}

/// The key of the agent, as `closewatch integrate zabbix-agent` has it, but for the namespaces of others: `ss` looks at one.
fn poll(program: &Path, user: Option<&str>) -> Outcome<Taken> {
    let history = program.with_file_name(format!("{}.db", user.unwrap_or("root")));
    let options = "check --format zabbix --netns current --history";
    let line = format!("{} {options} {}", program.display(), history.display());
    let mut command = match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={user}"), "--regid=65534", "--clear-groups", "sh"]);
            command
        }
        None => Command::new("sh"),
    };
    let (taken, printed) = run(command.args(["-c", &line]))?;
    let counted = printed.split("\"close_wait\":").nth(1).and_then(|rest| rest.split(',').next());
    let is_whole = ["\"partial\":false", "\"error\":\"\""].iter().all(|part| printed.contains(part));
    if is_whole && counted.is_some_and(are_all) {
        Ok(taken)
    } else {
        Err(format!("a poll saw something else: {printed:.2000}").into())
    }
}

fn count_each_state() -> Outcome<Taken> {
    let mut sum = Taken::default();
    for state in STATES {
        let line = format!("ss -ant | awk '$1==\"{state}\"' | wc -l");
        let (taken, printed) = run(Command::new("sh").args(["-c", &line]))?;
        if state == "CLOSE-WAIT" && !are_all(&printed) {
            return Err(format!("ss counts {printed}").into());
        }
        sum.wall += taken.wall;
        sum.cpu += taken.cpu;
    }
    Ok(sum)
}

/// Whether the count is that of all sockets. A dump of the kernel passes over one now and then, while its table changes.
fn are_all(count: &str) -> bool {
    count.trim().parse().is_ok_and(|count: usize| count.abs_diff(SOCKETS) <= SOCKETS / 1_000)
}

fn run(command: &mut Command) -> Outcome<(Taken, String)> {
    let before = cpu_of_children()?;
    let start = Instant::now();
    let output = command.output()?;
    let wall = start.elapsed();
    let cpu = cpu_of_children()?.saturating_sub(before);
    Ok((Taken { wall, cpu, bytes: output.stdout.len() }, String::from_utf8(output.stdout)?))
}

/// Of those that were waited for: the holders are not.
fn cpu_of_children() -> Outcome<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let span = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    Ok(span(usage.user_time()) + span(usage.system_time()))
}
