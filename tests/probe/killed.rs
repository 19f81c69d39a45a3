//! Killed at any moment, without a chance to tidy up, a probe leaves nothing.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{run, text, wait_until};
use crate::{has_namespaces, probe};

/// Marks the processes of one probe: they inherit it.
const MARK: &str = "CLOSEWATCH_TEST_MARK";

/// The processes that have this mark.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let pids = fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has_mark = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    pids.filter(has_mark).collect()
}

/// The network namespaces that a process is in.
fn namespaces() -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok());
    links.map(|link| link.display().to_string()).collect()
}

fn start(mark: &str, args: &[&str]) -> Child {
    let mut command = probe(args);
    command.env(MARK, mark).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("closewatch starts")
}

fn kill_without_mercy(child: &mut Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).expect("it is there");
    child.wait().expect("it ends");
}

/// Moments from before the first worker to the middle of the holding.
#[test]
fn at_any_moment_it_leaves_no_process_and_no_namespace() {
    const TEST: &str = "killed::at_any_moment_it_leaves_no_process_and_no_namespace";
    if !has_namespaces(TEST) {
        return;
    }
    let own = fs::read_link("/proc/self/ns/net").expect("a link").display().to_string();
    let mut n_seen_alive = 0;
    for (nth, millis) in [0, 1, 2, 3, 5, 8, 12, 17, 25, 40, 60, 90, 130, 200, 350].into_iter().enumerate() {
        for args in [
            &["leak", "--isolated", "--count", "2000", "--hold", "10m"][..],
            &["leak", "--isolated", "--count", "50", "--hold", "10m", "--variant", "forked-children"],
            &["exhaust"],
            &["drill", "--isolated", "--stuck-after", "10m", "--within", "10m", "--every", "0"],
        ] {
            let mark = format!("{}-{nth}-{}", std::process::id(), args.len());
            let mut child = start(&mark, args);
            thread::sleep(Duration::from_millis(millis));
            let netns =
                fs::read_link(format!("/proc/{}/ns/net", child.id())).ok().map(|link| link.display().to_string());
            n_seen_alive += marked(&mark).len();
            kill_without_mercy(&mut child);
            wait_until("every worker to be gone", || marked(&mark).is_empty());
            if let Some(netns) = netns.filter(|netns| *netns != own) {
                wait_until("its namespace to be left", || !namespaces().contains(&netns));
            }
        }
    }
    // There were workers to be killed.
    assert!(n_seen_alive > 60, "{n_seen_alive}");
}

#[test]
fn in_the_namespace_of_the_host_it_leaves_no_socket() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port().to_string()
    };
    let sockets = || {
        let filter = ["-Htan", "(", "sport", "=", &port, "or", "dport", "=", &port, ")"];
        text(&run("ss", &filter).stdout).lines().count()
    };
    let mark = format!("{}-host", std::process::id());
    let mut child =
        start(&mark, &["leak", "--count", "200", "--hold", "10m", "--listen", &format!("127.0.0.1:{port}")]);
    wait_until("the leak", || sockets() > 200);
    kill_without_mercy(&mut child);
    wait_until("every worker to be gone", || marked(&mark).is_empty());
    wait_until("every socket to be gone", || sockets() == 0);
}
