//! The search for the holders of sockets, on real processes.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use closewatch::capture::Deadline;
use closewatch::capture::procfs::{Scan, describe, scan_descriptors};
use closewatch::model::process::{Process, Runtime};
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::{Hides, ProcessScan};
use closewatch::model::socket::Inode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::player::{Player, ROLE, play};
use support::{has_program, is_root, run, skip, text, wait_until};

/// What the copies do. In the test run itself this does nothing.
#[test]
fn a_player_plays_its_role() {
    play(|role, argument| -> Vec<OwnedFd> {
        match role {
            "wait" => {}
            "hold" => {
                let n: usize = argument.parse().expect("a number");
                let hard = getrlimit(Resource::Nofile).maximum;
                setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).expect("raised");
                return (0..n).map(|_| UdpSocket::bind("127.0.0.1:0").expect("bound").into()).collect();
            }
            "rename" => {
                // The name is that of the first thread.
                std::fs::write("/proc/self/comm", argument).expect("renamed");
                return vec![TcpListener::bind("127.0.0.1:0").expect("bound").into()];
            }
            "look-unprivileged" => look_unprivileged(argument),
            "look-hidden" => look_hidden(),
            "look-contained" => look_contained(),
            "look-nowhere" => look_nowhere(),
            other => panic!("no such role: {other}"),
        }
        Vec::new()
    });
}

/// The whole search, as a report does it.
fn search(selection: &Selection, wanted: &HashSet<Inode>) -> Scan {
    describe(scan_descriptors(selection, Deadline::never()), wanted, None, Deadline::never())
}

fn everything() -> Selection {
    Selection::default()
}

fn by_pid(pid: u32) -> Selection {
    Selection { pids: vec![pid], ..Selection::default() }
}

fn inode_of(socket: &impl AsRawFd) -> Inode {
    let file = std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("an open socket");
    Inode::new(file.ino()).expect("not 0")
}

fn n_descriptors(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("own child").count() as u64
}

/// The descriptors of sockets of a process, read in the plainest way.
fn plainly_read(pid: u32) -> BTreeMap<u32, Inode> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("own child");
    let links = entries.map(|entry| entry.expect("listed")).filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let link = std::fs::read_link(entry.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((fd, Inode::new(inode).expect("not 0")))
    });
    links.collect()
}

fn find(scan: &Scan, pid: u32) -> Option<&Process> {
    scan.processes.iter().find(|process| process.key.pid == pid)
}

/// `(pid, descriptor)` of every holding of the socket.
fn holders(scan: &Scan, inode: Inode) -> BTreeSet<(u32, u32)> {
    let pid = |index: u32| scan.processes[index as usize].key.pid;
    let holdings = scan.holdings.iter().filter(|holding| holding.inode == inode);
    holdings.map(|holding| (pid(holding.process.0), holding.fd)).collect()
}

/// The same from the words `users:(("NAME",pid=1,fd=2),...)` of `ss`.
fn ss_holders(port: u16) -> BTreeSet<(u32, u32)> {
    let output = run("ss", &["-Htanp", "sport", "=", &format!(":{port}")]);
    let stdout = text(&output.stdout);
    let number = |word: &str| -> u32 { word.trim_end_matches([')', '\n', ' ']).parse().expect("a number") };
    let pairs = stdout.split("pid=").skip(1).map(|rest| {
        let (pid, rest) = rest.split_once(",fd=").expect("a descriptor follows");
        (number(pid), number(rest.split(')').next().expect("a parenthesis")))
    });
    pairs.collect()
}

// The sockets that are searched for are held by players only: a program that another test is just starting holds a copy
// of every descriptor of this process, between fork and exec.

#[test]
fn every_holder_of_a_shared_socket_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    drop(listener.accept().expect("accepted"));
    let (inode, port) = (inode_of(&stream), stream.local_addr().expect("an address").port());
    let shared = |command: &mut Command| {
        command.stderr(OwnedFd::from(stream.try_clone().expect("doubled")));
    };
    let children = [Player::start("wait", shared), Player::start("wait", shared)];
    drop(stream);
    let expected: BTreeSet<_> = children.iter().map(|child| (child.pid(), 2)).collect();
    if has_program("ss") {
        wait_until("ss to see the same holders", || ss_holders(port) == expected);
    } else {
        skip("every_holder_of_a_shared_socket_is_found", "the comparison needs the program `ss`");
    }
    let scan = search(&everything(), &HashSet::from([inode]));
    assert_eq!(holders(&scan, inode), expected);

    let child = find(&scan, children[0].pid()).expect("a holder");
    assert_eq!(child.exe, std::env::current_exe().ok());
    assert_eq!(child.uid, Some(rustix::process::geteuid().as_raw()));
    assert!(!is_root() || child.user.as_deref() == Some("root"), "{child:?}");
    assert_eq!(child.netns, std::fs::metadata("/proc/self/ns/net").ok().map(|file| file.ino()));
    assert_eq!(child.fds_open, Some(n_descriptors(child.key.pid)));
    assert_eq!((child.runtime, scan.extent), (Runtime::Native, ProcessScan::All));
    assert!(child.placement.is_some() && child.key.start_ticks > 0);
}

#[test]
fn a_start_is_placed_after_the_boot() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("read");
    let uptime: f64 = uptime.split(' ').next().expect("a word").parse().expect("seconds");
    let now = SystemTime::now();
    let booted_at = now - Duration::from_secs_f64(uptime);
    let links = scan_descriptors(&by_pid(std::process::id()), Deadline::never());
    let scan = describe(links, &HashSet::from([inode_of(&listener)]), Some(booted_at), Deadline::never());
    let age = now.duration_since(scan.processes[0].started_at.expect("placed")).expect("in the past");
    assert!(age < Duration::from_secs(600), "this test program started {age:?} ago");
}

#[test]
fn a_hostile_name_is_kept_as_it_is() {
    let player = Player::start("rename ) \u{1b}[31m\nS 1 (", |_| ());
    let wanted: HashSet<Inode> = plainly_read(player.pid()).into_values().collect();
    let scan = search(&everything(), &wanted);
    let process = find(&scan, player.pid()).expect("a holder");
    assert_eq!(process.name, ") \u{1b}[31m\nS 1 (");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", player.pid())).expect("read");
    let start = stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(20)).expect("field 22");
    assert_eq!(process.key.start_ticks.to_string(), start);
}

#[test]
fn a_table_that_is_split_among_threads_is_read_exactly() {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let n = 15_000.min(hard as usize - 100);
    let player = Player::start(&format!("hold {n}"), |_| ());
    let expected = plainly_read(player.pid());
    assert!(expected.len() >= n);
    let wanted: HashSet<Inode> = expected.values().copied().collect();
    for selection in [everything(), by_pid(player.pid())] {
        let scan = search(&selection, &wanted);
        let process = find(&scan, player.pid()).expect("a holder");
        let found: Vec<_> = scan.holdings.iter().map(|holding| (holding.fd, holding.inode)).collect();
        assert_eq!(scan.processes.len(), 1);
        assert!(found.iter().copied().eq(expected.clone()), "{} found, {} expected", found.len(), expected.len());
        assert_eq!(process.fds_open, Some(n_descriptors(player.pid())));
        assert_eq!(process.fds_limit, Some(hard));
    }
}

#[test]
fn processes_that_end_during_the_look_are_passed_over() {
    let player = Player::start("hold 1", |_| ());
    let wanted: HashSet<Inode> = plainly_read(player.pid()).into_values().collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    run("true", &[]);
                }
            });
        }
        for _ in 0..40 {
            let scan = search(&everything(), &wanted);
            assert!(find(&scan, player.pid()).is_some());
            let odd: Vec<_> = scan.gaps.iter().filter(|gap| !gap.why.contains("permission denied")).collect();
            assert_eq!(odd, Vec::<&closewatch::model::snapshot::Gap>::new());
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_holder_that_ends_between_the_steps_leaves_nothing() {
    let player = Player::start("hold 50", |_| ());
    let pid = player.pid();
    let wanted: HashSet<Inode> = plainly_read(pid).into_values().collect();
    let links = scan_descriptors(&by_pid(pid), Deadline::never());
    drop(player);
    let scan = describe(links, &wanted, None, Deadline::never());
    assert_eq!((scan.processes, scan.holdings, scan.gaps), (vec![], vec![], vec![]));
}

#[test]
fn past_the_deadline_the_gaps_count_what_is_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let wanted = HashSet::from([inode_of(&listener)]);
    let passed = Deadline::after(Duration::ZERO);

    let scan = describe(scan_descriptors(&everything(), passed), &wanted, None, Deadline::never());
    let gap = scan.gaps.iter().find(|gap| gap.why.contains("deadline")).expect("a gap");
    assert!(gap.what.starts_with("descriptors of ") && gap.count > 1, "{gap:?}");
    assert_eq!((gap.hides, scan.processes.len()), (Hides::Owners, 0));

    let links = scan_descriptors(&by_pid(std::process::id()), Deadline::never());
    let scan = describe(links, &wanted, None, passed);
    assert_eq!(scan.processes[0].name.trim_end(), std::fs::read_to_string("/proc/self/comm").expect("read").trim_end());
    assert_eq!(holders(&scan, inode_of(&listener)).len(), 1);
    assert_eq!(scan.gaps.len(), 1);
    assert!(scan.gaps[0].what.starts_with("details of 1 process"), "{:?}", scan.gaps);
}

#[test]
fn a_process_that_is_asked_for_by_number_is_shown_without_sockets_too() {
    let player = Player::start("wait", |_| ());
    let scan = search(&by_pid(player.pid()), &HashSet::new());
    assert_eq!(scan.processes.iter().map(|process| process.key.pid).collect::<Vec<_>>(), [player.pid()]);
    assert_eq!((scan.extent, scan.gaps), (ProcessScan::Selected, vec![]));
    // Beyond the largest number that Linux gives (PID_MAX_LIMIT).
    let scan = search(&by_pid(4_194_305), &HashSet::new());
    assert_eq!(scan.processes, []);
    assert_eq!(scan.gaps[0].why, "no such process in this /proc");
}

#[test]
fn only_processes_that_were_asked_for_are_searched() {
    let player = Player::start("rename cw-by-name", |_| ());
    let other = Player::start("rename cw-other", |_| ());
    let wanted: HashSet<Inode> =
        [&player, &other].iter().flat_map(|one| plainly_read(one.pid()).into_values()).collect();
    let named =
        |names: &[&str]| Selection { processes: names.iter().map(|name| (*name).to_owned()).collect(), ..everything() };
    let scan = search(&named(&["cw-by-name"]), &wanted);
    assert_eq!(scan.processes.iter().map(|process| process.key.pid).collect::<Vec<_>>(), [player.pid()]);
    assert_eq!(scan.extent, ProcessScan::Selected);
    // By the name of the executable both are meant.
    let exe = std::env::current_exe().expect("a path");
    let scan = search(&named(&[exe.file_name().and_then(|name| name.to_str()).expect("a name")]), &wanted);
    assert!(find(&scan, player.pid()).is_some() && find(&scan, other.pid()).is_some());
    let nowhere = Selection { units: vec!["closewatch-no-such.service".to_owned()], ..everything() };
    assert_eq!(search(&nowhere, &wanted).processes, []);
}

/// A program whose first thread has ended keeps its sockets; `/proc/PID/fd` is empty then.
#[test]
fn a_process_whose_first_thread_has_ended_still_holds_its_sockets() {
    const PROGRAM: &str = "
import ctypes, socket, sys, threading, time
held = [socket.socket() for _ in range(3)]
held[0].bind(('127.0.0.1', 0))
def stay():
    sys.stdin.read()
threading.Thread(target=stay).start()
ctypes.CDLL(None).pthread_exit(None)
";
    let test = "a_process_whose_first_thread_has_ended_still_holds_its_sockets";
    if !has_program("python3") {
        return skip(test, "needs the program `python3`");
    }
    let mut child =
        Command::new("python3").args(["-c", PROGRAM]).stdin(Stdio::piped()).spawn().expect("python3 starts");
    let pid = child.id();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("not waited for");
    wait_until("the first thread to end", || stat().contains(") Z "));
    let task = std::fs::read_dir(format!("/proc/{pid}/task")).expect("listed");
    let tids: Vec<u32> = task.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let other = tids.into_iter().find(|tid| *tid != pid).expect("another thread");
    let wanted: HashSet<Inode> = plainly_read(other).into_values().collect();
    let scan = search(&everything(), &wanted);
    assert_eq!(scan.processes.len(), 1, "{:?}", scan.gaps);
    assert_eq!((scan.processes[0].key.pid, scan.holdings.len()), (pid, 3));
    assert_eq!(scan.processes[0].runtime, Runtime::Python);
    assert!(scan.processes[0].exe.is_some() && scan.processes[0].netns.is_some());
    drop(child.stdin.take());
    child.wait().expect("it ends with its input");
}

/// Starts a copy in a role by another program that first takes something away from it, and waits for its end. The role
/// asserts; what it says is shown when it fails.
fn play_without(taken_away: &[&str], role: &str) -> Result<(), String> {
    let output = Command::new(taken_away[0])
        .args(&taken_away[1..])
        .arg(std::env::current_exe().expect("the test program has a path"))
        .args(["--exact", "a_player_plays_its_role", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .output()
        .map_err(|error| format!("{}: {error}", taken_away[0]))?;
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    if said.contains("running 1 test") {
        assert!(output.status.success(), "{role}:\n{said}");
        return Ok(());
    }
    Err(said)
}

const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn without_privilege_the_unreadable_processes_are_counted() {
    let test = "without_privilege_the_unreadable_processes_are_counted";
    let stranger = Player::start("hold 3", |_| ());
    let inode = plainly_read(stranger.pid()).into_values().next().expect("it holds some");
    if !is_root() {
        return skip(test, "needs root, to become another user");
    }
    if let Err(why) = play_without(&AS_NOBODY, &format!("look-unprivileged {} {}", inode.get(), stranger.pid())) {
        skip(test, &why);
    }
}

/// As another user: the own socket has its holder; that of the stranger has none, and a gap says why.
fn look_unprivileged(argument: &str) {
    let (inode, stranger) = argument.split_once(' ').expect("an inode and a process");
    let (inode, stranger) =
        (Inode::new(inode.parse().expect("a number")).expect("not 0"), stranger.parse().expect("a number"));
    let own = TcpListener::bind("127.0.0.1:0").expect("bound");
    let wanted = HashSet::from([inode, inode_of(&own)]);
    let scan = search(&everything(), &wanted);
    assert_eq!(holders(&scan, inode_of(&own)), BTreeSet::from([(std::process::id(), own.as_raw_fd() as u32)]));
    assert_eq!((holders(&scan, inode), find(&scan, stranger)), (BTreeSet::new(), None));
    let gap = scan.gaps.iter().find(|gap| gap.what.starts_with("descriptors of ")).expect("a gap");
    assert!(gap.why.ends_with("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"), "{gap:?}");
    assert_eq!(gap.hides, Hides::Owners);

    // Asked for by number, it is shown as far as anybody may see it.
    let scan = search(&by_pid(stranger), &wanted);
    let process = find(&scan, stranger).expect("asked for");
    assert_eq!((process.uid, process.exe.as_ref(), process.runtime), (Some(0), None, Runtime::Unknown));
    assert!(process.fds_limit.is_some() && process.placement.is_some());
    let unseen: BTreeSet<_> = scan.gaps.iter().map(|gap| gap.what.split(" of ").next().expect("a word")).collect();
    assert_eq!(unseen, BTreeSet::from(["descriptors", "executable", "network namespace"]));
    assert!(scan.gaps.iter().all(|gap| gap.count == 1 && gap.what.contains(&stranger.to_string())), "{:?}", scan.gaps);
}

#[test]
fn a_proc_that_hides_processes_is_noticed() {
    let test = "a_proc_that_hides_processes_is_noticed";
    let mount = "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"";
    let hidden = [&["unshare", "--mount", "sh", "-c", mount, "sh"][..], &AS_NOBODY].concat();
    if !is_root() {
        return skip(test, "needs root, to mount /proc");
    }
    if let Err(why) = play_without(&hidden, "look-hidden") {
        skip(test, &why);
    }
}

fn look_hidden() {
    let stranger = Inode::new(u64::MAX).expect("not 0");
    let scan = search(&everything(), &HashSet::from([stranger]));
    let gap = scan.gaps.iter().find(|gap| gap.why.contains("hidepid=")).expect("a gap");
    assert_eq!((gap.what.as_str(), gap.count), ("the process that holds 1 socket", 1));
    assert!(gap.why.ends_with("needs CAP_SYS_PTRACE or the group 0"), "{}", gap.why);
}

#[test]
fn a_pid_namespace_is_noticed_when_a_holder_is_missing() {
    let test = "a_pid_namespace_is_noticed_when_a_holder_is_missing";
    if !is_root() {
        return skip(test, "needs root, to make a pid namespace");
    }
    if let Err(why) = play_without(&["unshare", "--pid", "--fork", "--mount-proc"], "look-contained") {
        skip(test, &why);
    }
}

fn look_contained() {
    let own = TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut wanted = HashSet::from([inode_of(&own)]);
    assert_eq!(search(&everything(), &wanted).gaps, []);
    wanted.insert(Inode::new(u64::MAX).expect("not 0"));
    let gaps = search(&everything(), &wanted).gaps;
    assert_eq!((gaps.len(), gaps[0].what.as_str()), (1, "the process that holds 1 socket"));
    assert!(gaps[0].why.contains("one container only"), "{gaps:?}");
}

#[test]
fn a_host_without_proc_is_a_gap_and_no_error() {
    let test = "a_host_without_proc_is_a_gap_and_no_error";
    let mount = "mount -t tmpfs none /proc && exec \"$@\"";
    if !is_root() {
        return skip(test, "needs root, to cover /proc");
    }
    if let Err(why) = play_without(&["unshare", "--mount", "sh", "-c", mount, "sh"], "look-nowhere") {
        skip(test, &why);
    }
}

fn look_nowhere() {
    let scan = search(&everything(), &HashSet::from([Inode::new(1).expect("not 0")]));
    assert_eq!((scan.processes.len(), scan.gaps.len()), (0, 1));
    assert_eq!(scan.gaps[0].why, "no proc file system is mounted on /proc");
}
