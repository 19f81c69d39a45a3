//! All network namespaces of a host in one report: each found whatever keeps it, with its own owners, states and ports.

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::player::{Player, play};
use support::{assert_states_match_ss, closewatch, entry, in_netns, is_root, json_of, run, skip, text, wait_until};
use world::{Net, PORT, Station, enter_own_mounts, ring, service_of, unique};

const NOBODY: u32 = 65_534;

/// What the copies do. In the test run itself this does nothing.
#[test]
fn a_player_plays_its_role() {
    play(world::act);
}

/// What `closewatch report --json` prints of all namespaces.
fn report_all() -> Value {
    json_of(closewatch().args(["report", "--json"]))
}

/// What `look` sees while `ss` counts the same in all these namespaces before and after.
fn while_still(stations: &[Station], look: impl Fn() -> Value) -> (Value, Vec<BTreeMap<String, u64>>) {
    let count = || stations.iter().map(|station| station.net.ss_states()).collect::<Vec<_>>();
    let mut before = count();
    let mut seen = look();
    wait_until("the sockets to stand still", || {
        let after = count();
        let still = after == before;
        if !still {
            (before, seen) = (after, look());
        }
        still
    });
    (seen, before)
}

/// Skips where four namespaces cannot be joined.
fn may_be_joined(test: &str) -> bool {
    let programs = ["nsenter", "mount"].iter().all(|program| support::has_program(program));
    let may = programs && support::can_make_veth();
    if !may {
        skip(test, "needs veth pairs and the programs nsenter and mount");
    }
    may
}

#[test]
fn four_namespaces_that_leak_to_each_other_are_told_apart() {
    const TEST: &str = "four_namespaces_that_leak_to_each_other_are_told_apart";
    if !may_be_joined(TEST) {
        return;
    }
    in_netns(TEST, || {
        enter_own_mounts();
        let stations = ring();
        let (report, ss) = while_still(&stations, report_all);
        for (station, ss) in stations.iter().zip(&ss) {
            assert_is_seen(&report, station, ss);
        }
        both_ends_are_joined_around_the_ring(&report, &stations);
        assert_eq!(report["namespaces"][0]["name"], json!("current"), "the reader's own comes first");
        // Whoever sees other mounts finds the same, through the root directories of the processes that see these.
        let outside = format!("--mount=/proc/{}/ns/mnt", std::process::id());
        let elsewhere =
            json_of(Command::new("nsenter").arg(outside).arg(closewatch().get_program()).args(["report", "--json"]));
        for (station, ss) in stations.iter().zip(&ss) {
            assert_is_seen(&elsewhere, station, ss);
        }
        one_namespace_is_looked_at_by_any_of_its_names(&stations);
    });
}

/// One of the four: its name, its states as `ss` counts them, its range, its leak, and who is blamed for it.
fn assert_is_seen(report: &Value, station: &Station, ss: &BTreeMap<String, u64>) {
    let netns = json!(station.net.inode);
    let namespace = entry(report, "namespaces", "netns", &netns);
    let first = station.server.pid().min(station.client());
    let name = station.name.clone().unwrap_or_else(|| format!("pid {first}"));
    assert_eq!(namespace["name"], json!(name));
    assert_eq!(namespace["source"], json!("netlink"));
    assert_states_match_ss(&namespace["states"], ss);
    assert_eq!(namespace["states"]["close_wait"], json!(station.n_leaked));
    let (first, last) = station.range;
    assert_eq!(namespace["ephemeral"], json!({"first": first, "last": last, "reserved": 0, "size": 100}));

    let client = entry(report, "processes", "pid", &json!(station.client()));
    assert_eq!((&client["netns"], &client["close_wait"]["count"]), (&netns, &json!(station.n_leaked)));
    let server = entry(report, "processes", "pid", &json!(station.server.pid()));
    assert_eq!((&server["netns"], &server["states"]["listen"]), (&netns, &json!(1)));

    let pools: Vec<&Value> =
        report["port_pools"].as_array().expect("a list").iter().filter(|pool| pool["netns"] == netns).collect();
    let [pool] = pools.as_slice() else { panic!("{pools:#?}") };
    assert_eq!((&pool["usable"], &pool["used"]), (&json!(100), &json!(station.n_leaked)));
    assert_eq!(pool["holders"][0]["pid"], json!(station.client()));
}

/// Each leaks to the next, which closed: one row of pairs for each, and none besides.
fn both_ends_are_joined_around_the_ring(report: &Value, stations: &[Station]) {
    for (nth, station) in stations.iter().enumerate() {
        let next = &stations[(nth + 1) % stations.len()];
        let pair = entry(report, "pairs", "server", &json!(service_of(nth)));
        let (kept, closed, n_leaked) = (&pair["kept"], &pair["closed"], json!(station.n_leaked));
        assert_eq!((&pair["count"], &pair["fin_wait2_orphaned"]), (&n_leaked, &n_leaked), "{:#}", report["pairs"]);
        assert_eq!((&kept["netns"], &kept["pid"]), (&json!(station.net.inode), &json!(station.client())), "{pair:#}");
        assert_eq!((&kept["direction"], &kept["holder"]), (&json!("outbound"), &json!("process")), "{pair:#}");
        assert_eq!((&closed["netns"], &closed["pid"]), (&json!(next.net.inode), &json!(next.server.pid())), "{pair:#}");
        assert_eq!((&closed["direction"], &closed["holder"]), (&json!("inbound"), &json!("kernel")), "{pair:#}");
    }
    let services: Vec<Value> = (0..stations.len()).map(|nth| json!(service_of(nth))).collect();
    let of_ring = |pair: &&Value| services.contains(&pair["server"]);
    assert_eq!(report["pairs"].as_array().expect("a list").iter().filter(of_ring).count(), stations.len());
}

fn one_namespace_is_looked_at_by_any_of_its_names(stations: &[Station]) {
    let named = &stations[1];
    let look = |name: &str| json_of(closewatch().args(["report", "--json", "--netns", name]));
    for name in [named.name.as_ref().expect("a name"), &named.net.inode.to_string(), &named.client().to_string()] {
        let report = look(name);
        let [namespace] = report["namespaces"].as_array().expect("a list").as_slice() else { panic!("{report:#}") };
        assert_eq!(
            (&namespace["netns"], &report["totals"]["states"]["close_wait"]),
            (&json!(named.net.inode), &json!(12))
        );
        assert_eq!(report["source"]["processes"], json!("all"));
    }
    let (mistyped, meant) = (unique("cw-bleu"), unique("cw-blue"));
    let output = closewatch().args(["--netns", &mistyped]).output().expect("starts");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    let expected = [format!("no network namespace `{mistyped}`"), format!("did you mean `{meant}`?")];
    assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    // Asked for exactly, each is asked in its own namespace.
    let exact = json_of(closewatch().args(["report", "--json", "--exact"]));
    for station in stations {
        let pool = entry(&exact, "port_pools", "netns", &json!(station.net.inode));
        assert_eq!(pool["remaining"], pool["remaining_at_least"], "{pool:#}");
    }
}

#[test]
fn another_user_sees_the_states_of_all_and_is_told_what_is_lost() {
    const TEST: &str = "another_user_sees_the_states_of_all_and_is_told_what_is_lost";
    if !in_initial_user_namespace() {
        return skip(TEST, "needs root");
    }
    if !may_be_joined(TEST) {
        return;
    }
    in_netns(TEST, || {
        enter_own_mounts();
        let stations = ring();
        let dir = tempfile::tempdir_in("/run").expect("a directory");
        let binary = dir.path().join("closewatch");
        std::fs::copy(closewatch().get_program(), &binary).expect("copied");
        run("chmod", &["755", &dir.path().display().to_string()]);
        let look = || json_of(Command::new(&binary).uid(NOBODY).gid(NOBODY).args(["report", "--json"]));
        let (report, ss) = while_still(&stations, look);
        for (station, ss) in stations.iter().zip(&ss) {
            let name = format!("pid {}", station.server.pid().min(station.client()));
            let namespace = entry(&report, "namespaces", "name", &json!(name));
            assert_eq!((&namespace["source"], &namespace["netns"]), (&json!("proc_net"), &Value::Null));
            assert_states_match_ss(&namespace["states"], ss);
            assert_eq!(namespace["ephemeral"], Value::Null, "not known, and not the usual one");
        }
        assert_eq!(report["namespaces"][0]["source"], json!("netlink"), "one's own needs no privilege");
        assert_eq!(report["coverage"]["complete"], json!(false));
        let gaps = report["coverage"]["gaps"].as_array().expect("a list");
        let told = |hides: &str, what: &str| {
            let is_it =
                |gap: &&Value| gap["hides"] == hides && gap["what"].as_str().is_some_and(|text| text.contains(what));
            let gap = gaps.iter().find(is_it).unwrap_or_else(|| panic!("no gap of {what}: {gaps:#?}"));
            gap["why"].as_str().expect("a reason").to_owned()
        };
        let names = ["cw-blue", "cw-green", "cw-red"].map(unique).join(", ");
        let named = format!("the sockets of 3 namespaces ({names})");
        assert!(told("ports", "port range").contains("needs CAP_SYS_PTRACE and CAP_SYS_ADMIN"));
        assert!(told("sockets", &named).contains("needs CAP_SYS_ADMIN"));
        told("ages", "CLOSE-WAIT");
        assert_eq!(report["verdict"], json!("unknown"), "{}", report["headline"]);
    });
}

fn in_initial_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[test]
fn a_namespace_is_found_whatever_keeps_it() {
    in_netns("a_namespace_is_found_whatever_keeps_it", || {
        enter_own_mounts();
        let start = |role: &str, net: &Net| Player::start(&format!("{role} {}", net.path.display()), |_| {});
        let kept_by_mount = Net::add(&unique("cw-mount"));
        let kept_by_thread = Net::add(&unique("cw-thread"));
        let kept_by_descriptor = Net::add(&unique("cw-descriptor"));
        let kept = [
            (&kept_by_mount, start("listen-and-leave", &kept_by_mount)),
            (&kept_by_thread, start("listen-and-keep-a-thread", &kept_by_thread)),
            (&kept_by_descriptor, start("listen-and-keep-a-descriptor", &kept_by_descriptor)),
        ];
        let elsewhere = "/run/a place with blanks";
        std::fs::write(elsewhere, "").expect("made");
        run("mount", &["--bind", &kept_by_mount.path.display().to_string(), elsewhere]);
        for (net, _) in &kept {
            run("ip", &["netns", "del", &net.path.file_name().expect("a name").to_string_lossy()]);
        }
        let report = report_all();
        for (net, player) in &kept {
            let is_known = |namespace: &Value| namespace["netns"] == json!(net.inode);
            let found = report["namespaces"].as_array().is_some_and(|list| list.iter().any(is_known));
            assert!(found, "{} is missing: {:#}", net.path.display(), report["coverage"]);
            let namespace = entry(&report, "namespaces", "netns", &json!(net.inode));
            assert_eq!(namespace["states"]["listen"], json!(1));
            let listener = entry(&report, "listeners", "netns", &json!(net.inode));
            assert_eq!(listener["local"], json!(format!("127.0.0.1:{PORT}")));
            assert_eq!(listener["holders"][0]["pid"], json!(player.pid()));
        }
        let name_of = |net: &Net| entry(&report, "namespaces", "netns", &json!(net.inode))["name"].clone();
        assert_eq!(name_of(&kept_by_mount), json!(elsewhere));
        assert_eq!(name_of(&kept_by_thread), json!(format!("pid {}", kept[1].1.pid())));
        let by_descriptor = name_of(&kept_by_descriptor);
        let ends = format!(" of pid {}", kept[2].1.pid());
        assert!(by_descriptor.as_str().is_some_and(|name| name.ends_with(&ends)), "{by_descriptor}");
    });
}

#[test]
fn hidden_files_and_links_in_the_directory_of_names_do_no_harm() {
    in_netns("hidden_files_and_links_in_the_directory_of_names_do_no_harm", || {
        enter_own_mounts();
        let alive =
            Player::start("serve 0.0.0.0:0", |command| world::wrap(command, Command::new("unshare").arg("--net")));
        let link = format!("/proc/{}/ns/net", alive.pid());
        // As people name the namespaces of containers.
        std::os::unix::fs::symlink(&link, "/run/netns/cw-by-link").expect("linked");
        std::os::unix::fs::symlink("/nowhere", "/run/netns/cw-dangling").expect("linked");
        std::fs::write("/run/netns/cw-plain-file", "").expect("made");
        run("mkfifo", &["/run/netns/cw-pipe"]);
        let covered = Net::add(&unique("cw-covered"));
        run("mount", &["--bind", "/run/netns/cw-pipe", &covered.path.display().to_string()]);
        let report = report_all();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&link).expect("alive"));
        assert_eq!(entry(&report, "namespaces", "netns", &json!(inode))["name"], json!("cw-by-link"));
        // What lies under another file is there and out of reach: that is said, and nothing hangs.
        let gaps = report["coverage"]["gaps"].as_array().expect("a list");
        let hidden = json!(format!("the sockets of namespace {}", unique("cw-covered")));
        let told = gaps.iter().any(|gap| gap["what"] == hidden && gap["hides"] == "sockets");
        assert!(told, "{gaps:#?}");
        for absent in ["cw-dangling", "cw-plain-file", "cw-pipe"] {
            assert!(!report.to_string().contains(absent), "{absent} is no namespace");
        }
    });
}

#[test]
fn two_hundred_namespaces_are_read_in_a_moment() {
    const N: usize = 200;
    const TEST: &str = "two_hundred_namespaces_are_read_in_a_moment";
    in_netns(TEST, || {
        enter_own_mounts();
        let _crowd = Player::start(&format!("crowd {N}"), |_| {});
        let begin = Instant::now();
        let report = report_all();
        let took = begin.elapsed();
        let namespaces = report["namespaces"].as_array().expect("a list");
        let full = namespaces.iter().filter(|namespace| namespace["states"]["established"] == json!(6)).count();
        assert!(full >= N, "{full} of {N} namespaces with three connections each");
        let costs = namespaces.iter().filter_map(|namespace| namespace["took_s"].as_f64());
        let each = costs.sum::<f64>() / namespaces.len() as f64 * 1000.0;
        let line = format!(
            "MEASURED {N} namespaces: {:.0} ms, {each:.2} ms each by its own clock\n",
            took.as_secs_f64() * 1000.0
        );
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("stderr can be written to");
        // Ten times what is promised: a machine may be busy, but not that busy.
        assert!(took < Duration::from_secs(30), "{took:?}");
    });
}
