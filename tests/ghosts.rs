//! Ghosts, on real sockets: descriptors of TCP connections that are over, which `ss` does not show, and everything that
//! looks like one and is none.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_socket_linger, set_tcp_keepidle, set_tcp_keepintvl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket, socket_with};
use serde_json::{Value, json};
use support::{closewatch, entry, in_netns, is_root, json_of, listen, report_json, set_sysctl, skip, text, wait_until};

/// Names the part that a copy of this test program plays.
const ROLE: &str = "CLOSEWATCH_TEST_ROLE";
const NOBODY: u32 = 65_534;

/// A copy of this test program that holds sockets, until it is dropped. What a test is to attribute is held by a process of
/// its own: while a child is started it shares all descriptors of its parent.
struct Player {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Player {
    fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the test program has a path"));
        command.args(["--exact", "a_player_plays_its_role", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the copy starts");
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, stdin, lines }
    }

    /// Waits until it has done its part.
    fn ready(mut self) -> Self {
        let is_ready = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("ready"));
        assert!(self.lines.by_ref().any(is_ready), "the player is ready");
        self
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the copies do. In the test run itself this does nothing.
#[test]
fn a_player_plays_its_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let words: Vec<&str> = role.split(' ').collect();
    let address = |nth: usize| words[nth].parse::<SocketAddr>().expect("an address");
    let number = |nth: usize| words[nth].parse::<usize>().expect("a number");
    // So that it is known to the report, whatever becomes of the other sockets.
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut held: Vec<OwnedFd> = vec![listener.into()];
    match words[0] {
        "connect" => held.extend((0..number(2)).map(|_| TcpStream::connect(address(1)).expect("connected").into())),
        "connect-keepalive" => held.extend((0..number(2)).map(|_| keepalive(address(1)).into())),
        "connect-from" => held.push(connect_from(address(1), address(2))),
        "fresh" => held.extend((0..number(1)).map(unconnected)),
        "others" => (0..number(1)).for_each(|nth| held.extend(no_tcp(nth))),
        "elsewhere" => held.extend(connected_elsewhere(number(1))),
        "churn" => return churn(address(1)),
        "refused" => held.extend((0..number(1)).map(|_| refused())),
        other => panic!("no such role: {other}"),
    }
    let mut out = std::io::stdout();
    out.write_all(b"\nready\n").and_then(|()| out.flush()).expect("the test listens");
    // The end of the input is the end of the role.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn keepalive(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    set_socket_keepalive(&stream, true).expect("set");
    set_tcp_keepidle(&stream, Duration::from_secs(1)).expect("set");
    set_tcp_keepintvl(&stream, Duration::from_secs(1)).expect("set");
    stream
}

/// A connection from a port that was named in `bind()`: the port stays taken after the reset.
fn connect_from(local: SocketAddr, remote: SocketAddr) -> OwnedFd {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &local).expect("bound");
    rustix::net::connect(&socket, &remote).expect("connected");
    socket
}

/// A socket that was just made, or that is bound and no more.
fn unconnected(nth: usize) -> OwnedFd {
    let family = if nth.is_multiple_of(2) { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).expect("a socket");
    if nth.is_multiple_of(10) {
        rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().expect("an address")).expect("bound");
    }
    socket
}

fn no_tcp(nth: usize) -> Vec<OwnedFd> {
    match nth % 3 {
        0 => vec![UdpSocket::bind("127.0.0.1:0").expect("bound").into()],
        1 => UnixStream::pair().map(|(one, other)| vec![one.into(), other.into()]).expect("a pair"),
        _ => vec![
            socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::SOCK_DIAG)).expect("a socket"),
            socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket"),
        ],
    }
}

/// Connections, and sockets without one, of a namespace that no process is in. This thread comes back from it.
fn connected_elsewhere(n: usize) -> Vec<OwnedFd> {
    let home = std::fs::File::open("/proc/thread-self/ns/net").expect("the own namespace");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a new namespace");
    support::run("ip", &["link", "set", "lo", "up"]);
    let server = listen("127.0.0.1:0");
    let address = server.local_addr().expect("bound");
    let mut held = Vec::new();
    for nth in 0..n / 2 {
        held.push(TcpStream::connect(address).expect("connected").into());
        held.push(server.accept().expect("accepted").0.into());
        held.push(unconnected(nth));
    }
    held.push(server.into());
    nix::sched::setns(home, nix::sched::CloneFlags::CLONE_NEWNET).expect("back home");
    held
}

/// A `connect()` that was refused while nobody waited for it.
fn refused() -> OwnedFd {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    assert_eq!(rustix::net::connect(&socket, &nobody), Err(rustix::io::Errno::INPROGRESS));
    socket
}

/// Connects to a peer that resets, and closes when it hears of it, for ever.
fn churn(address: SocketAddr) {
    let mut out = std::io::stdout();
    out.write_all(b"\nready\n").and_then(|()| out.flush()).expect("the test listens");
    loop {
        let batch: Vec<TcpStream> = (0..50).filter_map(|_| TcpStream::connect(address).ok()).collect();
        for mut stream in batch {
            let _ = stream.read(&mut [0]);
        }
    }
}

fn reset(peer: TcpStream) {
    set_socket_linger(&peer, Some(Duration::ZERO)).expect("set");
    drop(peer);
}

fn accept(server: &TcpListener, n: usize) -> Vec<TcpStream> {
    (0..n).map(|_| server.accept().expect("accepts").0).collect()
}

/// How many sockets of the process `ss` shows, its listener left out.
fn shown_by_ss(pid: u32) -> usize {
    let output = support::run("ss", &["-Htanp"]);
    let mine = format!("pid={pid},");
    text(&output.stdout).lines().filter(|line| line.contains(&mine) && !line.starts_with("LISTEN")).count()
}

fn row(report: &Value, pid: u32) -> &Value {
    entry(report, "processes", "pid", &json!(pid))
}

fn ghosts(report: &Value, pid: u32) -> &Value {
    &row(report, pid)["ghosts"]
}

fn finding(report: &Value) -> Option<&Value> {
    report["findings"].as_array().expect("a list").iter().find(|finding| finding["rule"] == "ghost_sockets")
}

fn gaps_that_hide_ghosts(report: &Value) -> Vec<&Value> {
    let gaps = report["coverage"]["gaps"].as_array().expect("a list");
    gaps.iter().filter(|gap| gap["hides"] == "ghosts").collect()
}

/// That the processes hold no ghosts, and that this is known.
fn assert_no_ghosts(report: &Value, pid: u32) {
    assert_eq!(ghosts(report, pid), &json!(0), "{:#}", row(report, pid));
    assert_eq!(finding(report), None);
    let none: Vec<&Value> = Vec::new();
    assert_eq!(gaps_that_hide_ghosts(report), none);
}

#[test]
fn a_leak_that_keepalive_has_taken_out_of_every_table_is_found() {
    in_netns("a_leak_that_keepalive_has_taken_out_of_every_table_is_found", || {
        set_sysctl("net.ipv4.tcp_fin_timeout", "1");
        let server = listen("127.0.0.2:8086");
        let player = Player::start("connect-keepalive 127.0.0.2:8086 40");
        let peers = accept(&server, 40);
        let player = player.ready();
        drop(peers);
        wait_until("the resets", || shown_by_ss(player.pid()) == 0);
        let report = report_json(&[]);
        assert_eq!(ghosts(&report, player.pid()), &json!(40));
        assert_eq!(row(&report, player.pid())["states"]["close_wait"], json!(0));
        assert_eq!(report["verdict"], json!("warning"));
        let finding = finding(&report).expect("the leak is found");
        assert_eq!(finding["subject"]["pid"], json!(player.pid()));
        assert_eq!((&finding["severity"], &finding["confidence"]), (&json!("warning"), &json!("certain")));
        let summary = finding["summary"].as_str().expect("a sentence");
        assert!(summary.contains("holds 40 descriptors of TCP connections that are over"), "{summary}");
        let fix = finding["remedies"].as_array().and_then(|remedies| remedies.last()).expect("a remedy");
        assert!(fix["when"] == "fix" && fix["text"].as_str().is_some_and(|text| text.contains("close")), "{fix}");
        assert!(report["headline"].as_str().is_some_and(|line| line.starts_with(summary)), "{}", report["headline"]);
        let page = closewatch().args(["report", "--netns", "current"]).output().expect("closewatch starts");
        assert!(text(&page.stdout).contains("ghosts"), "the table has a column for them: {}", text(&page.stdout));
    });
}

#[test]
fn a_reset_by_the_peer_leaves_ghosts_until_they_are_closed() {
    in_netns("a_reset_by_the_peer_leaves_ghosts_until_they_are_closed", || {
        let server = listen("127.0.0.2:8086");
        let (player, bystander) = (Player::start("connect 127.0.0.2:8086 1200"), Player::start("fresh 3").ready());
        let peers = accept(&server, 1200);
        let player = player.ready();
        assert_no_ghosts(&report_json(&[]), player.pid());
        peers.into_iter().for_each(reset);
        wait_until("the resets", || shown_by_ss(player.pid()) == 0);
        let report = report_json(&[]);
        assert_eq!((ghosts(&report, player.pid()), ghosts(&report, bystander.pid())), (&json!(1200), &json!(0)));
        assert_eq!(report["verdict"], json!("critical"));
        assert_eq!(report["processes"][0]["pid"], json!(player.pid()), "who leaks most comes first");
        // A filter on states or addresses chooses sockets; what a process holds beside them is told all the same.
        let filtered = report_json(&["--state", "listen"]);
        assert_eq!(ghosts(&filtered, player.pid()), &json!(1200));
        let by_pid = report_json(&["--pid", &bystander.pid().to_string()]);
        assert_eq!(by_pid["processes"].as_array().map(Vec::len), Some(1));
        let pid = player.pid();
        drop(player);
        let report = report_json(&[]);
        assert!(report["processes"].as_array().is_some_and(|rows| rows.iter().all(|row| row["pid"] != json!(pid))));
    });
}

#[test]
fn a_process_that_holds_nothing_but_ghosts_is_named() {
    in_netns("a_process_that_holds_nothing_but_ghosts_is_named", || {
        let server = listen("127.0.0.2:8086");
        // Python, since the player keeps a listener.
        if !support::has_program("python3") {
            return skip("a_process_that_holds_nothing_but_ghosts_is_named", "needs python3");
        }
        let script = "import socket, sys\n\
                      held = [socket.create_connection(('127.0.0.2', 8086)) for _ in range(12)]\n\
                      sys.stdin.read()";
        let mut child = Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("starts");
        accept(&server, 12).into_iter().for_each(reset);
        wait_until("the resets", || shown_by_ss(child.id()) == 0);
        let report = report_json(&[]);
        let seen = (ghosts(&report, child.id()).clone(), row(&report, child.id())["sockets"].clone());
        let finding = finding(&report).cloned();
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert_eq!(seen, (json!(12), json!(0)));
        let fix = finding.expect("found")["remedies"].to_string();
        assert!(fix.contains("Python:"), "the fix is in the language of the program: {fix}");
    });
}

#[test]
fn a_reset_connection_from_a_named_port_is_a_ghost_that_keeps_its_port() {
    in_netns("a_reset_connection_from_a_named_port_is_a_ghost_that_keeps_its_port", || {
        let server = listen("127.0.0.2:8086");
        let player = Player::start("connect-from 127.0.0.1:40123 127.0.0.2:8086");
        let peers = accept(&server, 1);
        let player = player.ready();
        peers.into_iter().for_each(reset);
        wait_until("the reset", || shown_by_ss(player.pid()) == 0);
        let report = report_json(&[]);
        assert_eq!(ghosts(&report, player.pid()), &json!(1));
    });
}

#[test]
fn a_refused_connection_that_is_kept_is_a_ghost() {
    in_netns("a_refused_connection_that_is_kept_is_a_ghost", || {
        let player = Player::start("refused 15").ready();
        wait_until("the refusals", || shown_by_ss(player.pid()) == 0);
        let report = report_json(&[]);
        assert_eq!(ghosts(&report, player.pid()), &json!(15));
        let details = finding(&report).expect("found")["details"].to_string();
        assert!(details.contains("refused"), "{details}");
    });
}

#[test]
fn sockets_without_a_connection_and_other_sockets_are_no_ghosts() {
    in_netns("sockets_without_a_connection_and_other_sockets_are_no_ghosts", || {
        let (fresh, others) = (Player::start("fresh 500").ready(), Player::start("others 500").ready());
        let report = report_json(&[]);
        assert_no_ghosts(&report, fresh.pid());
        assert_no_ghosts(&report, others.pid());
        assert_eq!(report["verdict"], json!("ok"));
    });
}

#[test]
fn sockets_of_a_namespace_that_was_not_read_are_no_ghosts() {
    in_netns("sockets_of_a_namespace_that_was_not_read_are_no_ghosts", || {
        let player = Player::start("elsewhere 500").ready();
        assert_eq!(shown_by_ss(player.pid()), 0, "nothing of them is seen from here");
        assert_no_ghosts(&report_json(&[]), player.pid());
    });
}

#[test]
fn programs_that_close_what_was_reset_have_no_ghosts() {
    in_netns("programs_that_close_what_was_reset_have_no_ghosts", || {
        let server = listen("127.0.0.2:8086");
        std::thread::spawn(move || {
            while let Ok((peer, _)) = server.accept() {
                reset(peer);
            }
        });
        let players = [(); 2].map(|()| Player::start("churn 127.0.0.2:8086").ready());
        for _ in 0..25 {
            let report = report_json(&[]);
            for player in &players {
                assert_eq!(ghosts(&report, player.pid()), &json!(0), "{:#}", report["findings"]);
            }
            assert_eq!(finding(&report), None);
        }
    });
}

#[test]
fn another_user_is_told_that_ghosts_may_be_hidden() {
    const NAME: &str = "another_user_is_told_that_ghosts_may_be_hidden";
    if !is_root() {
        return skip(NAME, "needs root");
    }
    in_netns(NAME, || {
        let server = listen("127.0.0.2:8086");
        let player = Player::start("connect 127.0.0.2:8086 20");
        let peers = accept(&server, 20);
        let player = player.ready();
        peers.into_iter().for_each(reset);
        wait_until("the resets", || shown_by_ss(player.pid()) == 0);
        let binary = std::env::temp_dir().join(format!("closewatch-ghosts-{}", std::process::id()));
        std::fs::copy(env!("CARGO_BIN_EXE_closewatch"), &binary).expect("the program can be copied");
        let mut command = Command::new(&binary);
        command.uid(NOBODY).gid(NOBODY).args(["report", "--netns", "current", "--json"]);
        let report = json_of(&mut command);
        std::fs::remove_file(&binary).expect("removed");
        let rows = report["processes"].as_array().expect("a list");
        assert!(rows.iter().all(|row| row["pid"] != json!(player.pid()) || row["ghosts"].is_null()));
        let told = report["coverage"]["gaps"].to_string();
        assert!(told.contains("descriptors of") && told.contains("CAP_SYS_PTRACE"), "{told}");
    });
}

#[test]
fn what_may_not_be_asked_is_not_guessed() {
    in_netns("what_may_not_be_asked_is_not_guessed", || {
        let server = listen("127.0.0.2:8086");
        let player = Player::start("connect 127.0.0.2:8086 20");
        let peers = accept(&server, 20);
        let (player, fresh) = (player.ready(), Player::start("fresh 500").ready());
        let others = Player::start("others 500").ready();
        peers.into_iter().for_each(reset);
        wait_until("the resets", || shown_by_ss(player.pid()) == 0);
        let mut command = closewatch();
        command.args(["report", "--netns", "current", "--json"]);
        forbid_pidfd_getfd(&mut command);
        let report = json_of(&mut command);
        assert_eq!((ghosts(&report, player.pid()), ghosts(&report, fresh.pid())), (&Value::Null, &Value::Null));
        assert_eq!(ghosts(&report, others.pid()), &json!(0), "what holds no TCP socket has no ghosts");
        assert_eq!(finding(&report), None);
        let gaps = gaps_that_hide_ghosts(&report);
        let [gap] = gaps.as_slice() else { panic!("{:#}", report["coverage"]) };
        assert!(gap["count"].as_u64().is_some_and(|count| count >= 2), "{gap}");
        assert!(gap["what"].as_str().is_some_and(|what| what.starts_with("ghost sockets of")), "{gap}");
        assert!(gap["why"].as_str().is_some_and(|why| why.contains("seccomp") || why.contains("CAP_SYS_PTRACE")));
    });
}

/// Makes `pidfd_getfd()` fail with EPERM in the command, by a seccomp filter, as runtimes of containers do.
fn forbid_pidfd_getfd(command: &mut Command) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    // struct seccomp_data: nr at 0 (linux/seccomp.h).
    let filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_pidfd_getfd as u32, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    #[allow(unsafe_code, reason = "seccomp has no safe interface")]
    let install = move || {
        let mut filter = filter;
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: prctl reads the program, which lives until it returns; it touches nothing else of this process.
        let refused = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        };
        if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure calls prctl only and allocates nothing.
    #[allow(unsafe_code, reason = "a seccomp filter has to be installed between fork and exec")]
    unsafe {
        command.pre_exec(install);
    }
}
