//! Surroundings that hide things or lie: the report stays clear and honest, and never panics.

mod support;

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::{assert_states_match_ss, close_wait, closewatch, entry, in_netns, json_of, listen, report_json, text};

const NOBODY: u32 = 65_534;

fn gaps(report: &Value) -> &Vec<Value> {
    report["coverage"]["gaps"].as_array().expect("a list")
}

#[test]
fn another_user_sees_the_same_states_and_ports_and_is_told_what_is_hidden() {
    in_netns("another_user_sees_the_same_states_and_ports_and_is_told_what_is_hidden", || {
        if !in_initial_user_namespace() {
            return support::skip(
                "another_user_sees_the_same_states_and_ports_and_is_told_what_is_hidden",
                "needs root",
            );
        }
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..50).map(|_| close_wait(&server)).collect();
        support::settle();
        let whole = report_json(&[]);
        let binary = reachable_copy();
        let mut command = Command::new(&binary);
        command.uid(NOBODY).gid(NOBODY).args(["report", "--netns", "current", "--json"]);
        let hidden = json_of(&mut command);
        assert_eq!(whole["totals"], hidden["totals"]);
        assert_states_match_ss(&hidden["totals"]["states"], &support::ss_states());
        let ports = |report: &Value| -> Vec<Value> {
            let pools = report["port_pools"].as_array().expect("a list");
            pools
                .iter()
                .map(|pool| json!([pool["source"], pool["destination"], pool["remaining"], pool["remaining_at_least"]]))
                .collect()
        };
        assert_eq!(ports(&whole), ports(&hidden));
        assert_eq!(hidden["port_pools"][0]["holders"], Value::Null, "unknown is null, not nobody");
        assert_eq!(hidden["coverage"]["complete"], json!(false));
        assert!(hidden["coverage"]["attributed"].as_u64() < hidden["coverage"]["attributable"].as_u64());
        let told = gaps(&hidden).iter().any(|gap| {
            gap["hides"] == "owners" && gap["why"].as_str().is_some_and(|why| why.contains("CAP_SYS_PTRACE"))
        });
        assert!(told, "the missing capability is named: {:#}", hidden["coverage"]);
    });
}

/// A copy of the program where every user may execute it: the build folder may be closed to others.
fn reachable_copy() -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("closewatch-test-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_closewatch"), &path).expect("the program can be copied");
    path
}

fn in_initial_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    support::is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[test]
fn a_name_full_of_escapes_is_printed_as_text() {
    in_netns("a_name_full_of_escapes_is_printed_as_text", || {
        std::fs::write("/proc/self/comm", ") \u{1b}[31m\n").expect("a process may name itself");
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..50).map(|_| close_wait(&server)).collect();
        support::settle();
        let output =
            closewatch().args(["report", "--netns", "current", "-v", "--stuck-after", "0s"]).output().expect("starts");
        let page = text(&output.stdout);
        assert!(page.contains(") \\u{1b}[31m\\n"), "the name is there, written out: {page}");
        assert!(!page.contains('\u{1b}'), "no escape reaches the terminal");
        let json = closewatch().args(["report", "--netns", "current", "--json"]).output().expect("starts");
        assert!(!text(&json.stdout).contains('\u{1b}'));
        let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        let me = entry(&report, "processes", "pid", &json!(std::process::id()));
        assert_eq!(me["name"], json!(") \u{1b}[31m\n"), "the JSON holds the name itself");
    });
}

#[test]
fn processes_that_die_during_the_look_are_normal() {
    in_netns("processes_that_die_during_the_look_are_normal", || {
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..50).map(|_| close_wait(&server)).collect();
        support::settle();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let spawner = scope.spawn(|| {
                let mut born = 0;
                while !done.load(Ordering::Relaxed) && born < 20_000 {
                    let _ = Command::new("true").stdout(Stdio::null()).status();
                    born += 1;
                }
                born
            });
            for _ in 0..20 {
                let report = report_json(&[]);
                let me = entry(&report, "processes", "pid", &json!(std::process::id()));
                assert_eq!(me["close_wait"]["count"], json!(50));
            }
            done.store(true, Ordering::Relaxed);
            assert!(spawner.join().expect("the spawner ends") > 20, "processes came and went");
        });
    });
}

#[test]
fn a_proc_that_hides_the_holders_is_told_of() {
    in_netns("a_proc_that_hides_the_holders_is_told_of", || {
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..50).map(|_| close_wait(&server)).collect();
        support::settle();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(env!("CARGO_BIN_EXE_closewatch"));
        let report = json_of(command.args(["report", "--netns", "current", "--json", "--stuck-after", "0s"]));
        assert_eq!(report["totals"]["states"]["close_wait"], json!(50));
        assert_eq!(report["unowned"]["close_wait"], json!(50));
        assert_eq!(report["coverage"]["complete"], json!(false));
        assert!(gaps(&report).iter().any(|gap| gap["hides"] == "owners"), "{:#}", report["coverage"]);
        assert_ne!(report["verdict"], json!("ok"), "fifty stuck sockets are no less stuck without a name");
    });
}

#[test]
fn netlink_refused_falls_back_to_text_and_says_what_that_loses() {
    in_netns("netlink_refused_falls_back_to_text_and_says_what_that_loses", || {
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..50).map(|_| close_wait(&server)).collect();
        support::settle();
        let mut command = closewatch();
        command.args(["report", "--netns", "current", "--json"]);
        forbid_netlink(&mut command);
        let report = json_of(&mut command);
        assert_eq!(report["source"]["kind"], json!("proc_net"));
        assert_states_match_ss(&report["totals"]["states"], &support::ss_states());
        let me = entry(&report, "processes", "pid", &json!(std::process::id()));
        assert_eq!(me["close_wait"]["count"], json!(50));
        assert_eq!(me["close_wait"]["oldest_at_least_s"], Value::Null);
        let hidden: Vec<&Value> = gaps(&report).iter().map(|gap| &gap["hides"]).collect();
        assert!(hidden.contains(&&json!("ages")) && hidden.contains(&&json!("ports")), "{:#}", report["coverage"]);
        assert_eq!(report["verdict"], json!("unknown"), "fifty CLOSE-WAIT of unknown age");
        assert!(gaps(&report).iter().any(|gap| {
            gap["why"].as_str().is_some_and(|why| why.contains("ermission") || why.contains("not permitted"))
        }));
    });
}

/// Makes `socket(AF_NETLINK, ...)` fail with EPERM in the command, by a seccomp filter.
fn forbid_netlink(command: &mut Command) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    // struct seccomp_data: nr at 0, args[0] at 16 (linux/seccomp.h).
    let filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_socket as u32, 0, 3),
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 16),
        jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::AF_NETLINK as u32, 0, 1),
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
