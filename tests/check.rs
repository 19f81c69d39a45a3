//! `closewatch check` on a real namespace with real sockets: what it grades, by which ranges, and how it ends.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use closewatch::render::schema;
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use support::nobody::{as_nobody, public_place};
use support::player::Player;
use support::slow::{Crowd, Cut, cut_short};
use support::{close_wait, closewatch, in_netns, is_root, listen, set_sysctl, skip, text, wait_until};

/// How many sockets the leak has, and of how many ports.
const LEAKED: usize = 20;
const PORTS: usize = 200;

/// A program, this one, that read the end of file of each socket and closed none.
struct Leak {
    _sockets: Vec<TcpStream>,
    _server: TcpListener,
}

fn leak() -> Leak {
    set_sysctl("net.ipv4.ip_local_port_range", "40000 40199");
    let server = listen("127.0.0.2:8086");
    let mut sockets: Vec<TcpStream> = (0..LEAKED).map(|_| close_wait(&server)).collect();
    for socket in &mut sockets {
        assert_eq!(socket.read(&mut [0; 8]).expect("it ended well"), 0);
    }
    support::settle();
    let leak = Leak { _sockets: sockets, _server: server };
    wait_until("the sockets to be stuck", || {
        let stuck = &json_of_check(&[])["metrics"][1];
        assert_eq!(stuck["name"], json!("stuck"));
        stuck["value"] == json!(LEAKED as f64)
    });
    leak
}

fn check(options: &[&str]) -> Output {
    let mut command = closewatch();
    command.args(["check", "--netns", "current", "--stuck-after", "1ms"]).args(options);
    command.output().expect("closewatch starts")
}

fn json_of_check(options: &[&str]) -> Value {
    let output = check(&[&["--json"], options].concat());
    assert_eq!(text(&output.stderr), "", "{options:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let status = ["ok", "warning", "critical", "unknown"].iter().position(|verdict| report["verdict"] == *verdict);
    assert_eq!(output.status.code().map(|code| code as usize), status, "{}", report["headline"]);
    report
}

fn status(options: &[&str]) -> Option<i32> {
    check(options).status.code()
}

#[test]
fn the_exit_status_is_the_grade() {
    in_netns("the_exit_status_is_the_grade", || {
        let quiet = check(&[]);
        assert_eq!(quiet.status.code(), Some(0), "{}", text(&quiet.stdout));
        assert!(text(&quiet.stdout).starts_with("CLOSEWATCH OK - ports 0 %, stuck 0, 0 sockets | ports=0%;"));
        let _leak = leak();
        let by_default = check(&[]);
        assert_eq!(by_default.status.code(), Some(1), "{}", text(&by_default.stdout));
        let begin = format!("CLOSEWATCH WARNING - stuck {LEAKED} (check");
        assert!(text(&by_default.stdout).starts_with(&begin), "{}", text(&by_default.stdout));
        assert_eq!(status(&["-c", "stuck=10"]), Some(2));
        assert_eq!(status(&["-w", "stuck=100"]), Some(0));
        assert_eq!(status(&["-w", "stuck=100", "-w", "eta=7d:"]), Some(3), "asked, and not known yet");
        assert_eq!(status(&["-w", "eta=7d:"]), Some(1), "a warning goes before what is not known");
    });
}

#[test]
fn ranges_alert_exactly_as_they_are_typed() {
    in_netns("ranges_alert_exactly_as_they_are_typed", || {
        let _leak = leak();
        // Of these only what is asked about is bad: 20 stuck sockets, 10 % of the ports.
        let share = format!("{}%", LEAKED * 100 / PORTS);
        assert_eq!(share, "10%");
        for (range, alerts) in [
            ("stuck=20", false),
            ("stuck=19", true),
            ("stuck=19.5", true),
            ("stuck=0:20", false),
            ("stuck=20:", false),
            ("stuck=21:", true),
            ("stuck=~:20", false),
            ("stuck=~:19", true),
            ("stuck=20:30", false),
            ("stuck=21:30", true),
            ("stuck=@20:", true),
            ("stuck=@21:", false),
            ("stuck=@20", true),
            ("stuck=@19", false),
            ("stuck=@10:20", true),
            ("stuck=@20:30", true),
            ("stuck=@21:30", false),
            ("ports=10%", false),
            ("ports=9.99%", true),
            ("ports=0.1", false),
            ("ports=0.0999", true),
            ("ports=@10%:", true),
            ("ports=@10.01%:", false),
            ("ports=10%:", false),
            ("ports=10.01%:", true),
        ] {
            let options = ["-w", "stuck=500", "-w", "ports=75%", "-c", range];
            let expected = if alerts { 2 } else { 0 };
            let output = check(&options);
            assert_eq!(output.status.code(), Some(expected), "{range}: {}", text(&output.stdout));
            let as_warning = ["-c", "stuck=5000", "-c", "ports=@100%:", "-w", "stuck=500,ports=75%", "-w", range];
            assert_eq!(status(&as_warning), Some(i32::from(alerts)), "{range} as a warning");
        }
    });
}

#[test]
fn metrics_findings_and_headline_are_of_one_mind() {
    in_netns("metrics_findings_and_headline_are_of_one_mind", || {
        let _leak = leak();
        let validator = {
            let schema: Value = serde_json::from_str(schema::REPORT).expect("the schema is JSON");
            jsonschema::validator_for(&schema).expect("the schema is one")
        };
        let leaks = |report: &Value| {
            let findings = report["findings"].as_array().expect("findings").iter();
            findings.filter(|finding| finding["rule"] == "close_wait_leak").count()
        };
        let critical = json_of_check(&["-c", "stuck=10"]);
        assert_eq!((&critical["findings"][0]["severity"], leaks(&critical)), (&json!("critical"), 1));
        let stuck = &critical["metrics"][1];
        assert_eq!(
            (&stuck["value"], &stuck["warning"], &stuck["critical"], &stuck["grade"], &stuck["unit"]),
            (&json!(LEAKED as f64), &json!("@10:"), &json!("10"), &json!("critical"), &json!("sockets"))
        );
        let calm = json_of_check(&["-w", "stuck=20"]);
        assert_eq!(
            (&calm["verdict"], leaks(&calm)),
            (&json!("ok"), 0),
            "no finding where the range says there is none"
        );
        let odd = json_of_check(&["-w", "stuck=100,ports=50%", "-c", "stuck=@15:25"]);
        assert_eq!(leaks(&odd), 0);
        let headline = odd["headline"].as_str().expect("a sentence");
        assert!(headline.starts_with("stuck is 20 (check") && headline.ends_with("critical at 15 to 25"), "{headline}");
        for report in [critical, calm, odd] {
            let wrong: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{wrong:#?}");
            assert_eq!(report["metrics"].as_array().map(Vec::len), Some(8));
        }
    });
}

#[test]
fn a_policy_file_sets_levels_and_the_command_line_goes_before_it() {
    in_netns("a_policy_file_sets_levels_and_the_command_line_goes_before_it", || {
        let _leak = leak();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("policy.toml");
        let with = |content: &str, options: &[&str]| {
            fs::write(&path, content).expect("written");
            let path = path.to_str().expect("a plain path");
            closewatch().args(["check", "--netns", "current", "--policy", path]).args(options).output().expect("starts")
        };
        let of_age = "stuck_after = \"1ms\"\n[stuck]\ncritical = 5\n";
        assert_eq!(with(of_age, &[]).status.code(), Some(2));
        assert_eq!(with(of_age, &["-c", "stuck=50"]).status.code(), Some(1), "the warning is the default, from 10 on");
        assert_eq!(with(of_age, &["--stuck-after", "1h"]).status.code(), Some(0));
        assert_eq!(with("[coverage]\nwarning = \"0%:\"\n", &[]).status.code(), Some(0));

        let output = with("[stuk]\nwarning = 5\n", &[]);
        assert_eq!(output.status.code(), Some(3));
        let said = text(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(lines[0].ends_with("policy.toml, line 1: there is no threshold `stuk`"), "{said}");
        assert!(lines[1].starts_with("hint: did you mean `stuck`?"), "{said}");
        let status_line = text(&output.stdout);
        assert!(status_line.starts_with("CLOSEWATCH UNKNOWN - --policy: ") && status_line.lines().count() == 1);
    });
}

#[test]
fn what_cannot_be_acted_on_is_unknown_on_both_streams() {
    for (options, what) in [
        (&["-w", "stuk=5"][..], "no metric `stuk`"),
        (&["-w", "stuck"], "has no `=`"),
        (&["-c", "stuck=20:10"], "begins beyond its end"),
        (&["-c", "ports=80"], "`80` is not a share"),
        (&["-w", "eta=7d"], "alone alerts above 7d"),
        (&["-w", "ports=90%"], "beyond the critical range"),
        (&["--policy", "/nonexistent"], "reading /nonexistent: No such file or directory"),
        (&["--policy", "/"], "reading /: Is a directory"),
        (&["-t", "0"], "no look fits into no time"),
        (&["--nonsense"], "unexpected argument '--nonsense'"),
        (&["-w", "stuck=\u{1b}[31m|x=1\n"], "`\\u{1b}[31m"),
    ] {
        let output = check(options);
        assert_eq!(output.status.code(), Some(3), "{options:?}");
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(stderr.starts_with("closewatch: ") && stderr.lines().count() == 2, "{stderr}");
        assert!(stderr.contains(what) && stderr.contains("\nhint: "), "{options:?}: {stderr}");
        assert!(stdout.starts_with("CLOSEWATCH UNKNOWN - ") && stdout.lines().count() == 1, "{stdout}");
        assert!(!stdout.contains(['|', '\u{1b}']), "{stdout}");
        let json = check(&[options, &["--json"]].concat());
        assert_eq!((json.status.code(), text(&json.stdout)), (Some(3), String::new()), "{options:?}");
    }
}

#[test]
fn help_and_version_are_no_ok_to_a_monitoring_system() {
    for option in ["-h", "--help", "-V", "--version"] {
        let output = check(&[option]);
        assert_eq!(output.status.code(), Some(3), "{option}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{option}");
    }
}

#[test]
fn quiet_says_nothing_of_what_is_well() {
    in_netns("quiet_says_nothing_of_what_is_well", || {
        let silent = |output: &Output| output.stdout.is_empty() && output.stderr.is_empty();
        let well = check(&["--quiet"]);
        assert!(silent(&well) && well.status.success(), "{}", text(&well.stdout));
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("check");
        let written = check(&["--quiet", "--output", file.to_str().expect("a plain path")]);
        assert!(silent(&written) && fs::read_to_string(&file).expect("written").starts_with("CLOSEWATCH OK - "));
        let _leak = leak();
        let ill = check(&["--quiet"]);
        assert_eq!(ill.status.code(), Some(1));
        assert!(text(&ill.stdout).starts_with("CLOSEWATCH WARNING - "), "{}", text(&ill.stdout));
        let table = check(&["--quiet", "--format", "table", "-w", "stuck=5"]);
        let page = text(&table.stdout);
        assert!(page.starts_with("WARNING  check"), "{page}");
        assert!(page.contains("\nMETRICS        WARNING: stuck is 20 (check"), "{page}");
    });
}

#[test]
fn a_reader_who_has_gone_takes_nothing_from_the_grade() {
    in_netns("a_reader_who_has_gone_takes_nothing_from_the_grade", || {
        let _leak = leak();
        for (options, expected) in [(&["-w", "stuck=100"][..], 0), (&[], 1), (&["-c", "stuck=1"], 2), (&["-w", "x"], 3)]
        {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let mut command = closewatch();
            command.args(["check", "--netns", "current", "--stuck-after", "1ms"]).args(options).stdout(writer);
            let output = command.stderr(Stdio::piped()).output().expect("closewatch starts");
            assert_eq!(output.status.code(), Some(expected), "{options:?}: {}", text(&output.stderr));
            assert!(!text(&output.stderr).contains("panic"), "{}", text(&output.stderr));
        }
    });
}

#[test]
fn past_the_deadline_it_is_unknown_with_what_was_seen() {
    in_netns("past_the_deadline_it_is_unknown_with_what_was_seen", || {
        let server = listen("127.0.0.2:8086");
        let leaked: Vec<TcpStream> = (0..25).map(|_| close_wait(&server)).collect();
        support::settle();
        let _crowd = Crowd::of(&leaked);
        let told = cut_short(|limit| {
            let bounded = ["check", "--netns", "current", "-t", &format!("{limit}ms")];
            let output = closewatch().args(bounded).output().expect("closewatch starts");
            let stdout = text(&output.stdout);
            let was_cut = stdout.contains(&format!("not seen: what was left (--timeout is {limit} ms and has passed)"));
            let cut = match (was_cut, stdout.contains(" sockets=") && !stdout.contains(" sockets=0;")) {
                (true, true) => Cut::Short,
                (false, true) => Cut::No,
                (_, false) => Cut::TooShort,
            };
            (cut, output)
        });
        let stdout = text(&told.stdout);
        assert_eq!(told.status.code(), Some(3), "{stdout}");
        assert!(stdout.starts_with("CLOSEWATCH UNKNOWN - "), "{stdout}");
        assert!(stdout.contains("\nseen: "), "{stdout}");
    });
}

#[test]
fn the_limit_holds_also_where_nobody_reads() {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("it does not wait");
    while writer.write(&[b'x'; 512]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("it waits");
    let mut command = closewatch();
    command.args(["check", "--netns", "current", "-t", "1"]).stdout(writer).stderr(Stdio::piped());
    let status = command.spawn().expect("closewatch starts").wait().expect("it ends");
    drop(command);
    assert_eq!(status.code(), Some(3));
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("what was written before");
    assert!(!rest.contains("CLOSEWATCH"), "{rest}");
}

#[test]
fn who_may_not_see_everything_is_ok_and_says_what_was_not_seen() {
    let test = "who_may_not_see_everything_is_ok_and_says_what_was_not_seen";
    if !is_root() {
        return skip(test, "needs root, to become another user");
    }
    in_netns(test, || {
        let (_dir, program) = public_place();
        let server = listen("127.0.0.2:8086");
        let _open = TcpStream::connect(server.local_addr().expect("bound")).expect("connects");
        let run = |options: &[&str]| {
            let mut command = as_nobody(&program);
            command.args(["check", "--netns", "current"]).args(options).output().expect("setpriv starts")
        };
        let output = run(&[]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{stdout}");
        let first = stdout.lines().next().expect("a line");
        assert!(first.starts_with("CLOSEWATCH OK - ") && first.contains(", coverage 0 % | "), "{first}");
        assert!(first.contains(" coverage=0%;;;0 ") && first.contains(" fds=U;"), "{first}");
        assert!(stdout.contains("\nnot seen: ") && stdout.contains("needs CAP_SYS_PTRACE"), "{stdout}");
        for (asked, expected) in [
            ("coverage=90%:", 3),
            ("coverage=0%:", 0),
            ("fds=90%", 3),
            ("ghosts=5", 3),
            ("ports=90%", 0),
            ("stuck=5", 0),
            ("conntrack=95%", 0),
        ] {
            let output = run(&["-c", asked]);
            assert_eq!(output.status.code(), Some(expected), "{asked}: {}", text(&output.stdout));
        }
        let asked = text(&run(&["-w", "coverage=90%:"]).stdout);
        assert!(asked.starts_with("CLOSEWATCH UNKNOWN - coverage 0 % | "), "{asked}");
    });
}

#[test]
fn a_player_plays_its_role() {
    support::player::play(|_, _| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may");
        support::run("ip", &["link", "set", "lo", "up"]);
        let server = listen("127.0.0.2:8086");
        let client = TcpStream::connect(server.local_addr().expect("bound")).expect("connects");
        (client, server)
    });
}

#[test]
fn a_namespace_that_may_not_be_entered_is_told_and_leaves_an_ok_alone() {
    let test = "a_namespace_that_may_not_be_entered_is_told_and_leaves_an_ok_alone";
    if !is_root() || !support::has_program("ip") {
        return skip(test, "needs root, to become another user, and the program `ip`");
    }
    let apart = Player::start("apart", |_| ());
    let (_dir, program) = public_place();
    let run = |command: &str, options: &[&str]| -> Value {
        let output = as_nobody(&program).args([command, "--json"]).args(options).output().expect("setpriv starts");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    };
    // Other namespaces of this host may hold what they like: only what is said of coverage is looked at.
    let severities = |report: &Value| -> BTreeSet<String> {
        let findings = report["findings"].as_array().expect("findings").iter();
        let told = findings.filter(|finding| finding["rule"] == "coverage").map(|finding| finding["severity"].as_str());
        told.map(|severity| severity.expect("a severity").to_owned()).collect()
    };
    let check = run("check", &[]);
    let name = format!("in namespace pid {}", apart.pid());
    let gaps = check["coverage"]["gaps"].as_array().expect("gaps").iter();
    let is_of_it =
        |gap: &&Value| gap["what"].as_str().is_some_and(|what| what.contains(&name) || what.contains(" namespaces"));
    assert!(gaps.filter(is_of_it).count() > 0, "{name}: {:#}", check["coverage"]);
    assert_eq!(severities(&check), BTreeSet::from(["info".to_owned()]), "{:#}", check["coverage"]);
    assert!(severities(&run("report", &[])).contains("unknown"), "a report must not say OK of what it did not see");
    let asked = run("check", &["-w", "coverage=0%:"]);
    let coverage = &asked["metrics"][7];
    assert_eq!((&coverage["name"], &coverage["grade"]), (&json!("coverage"), &json!("unknown")), "{coverage:#}");
}

#[test]
fn saved_looks_are_graded_like_this_host() {
    let case = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases/ss-6.1-tanpieom/input.txt");
    let run = |options: &[&str]| {
        let mut command: Command = closewatch();
        command.args(["check", "--from"]).arg(&case).args(options).output().expect("closewatch starts")
    };
    let unknown = run(&["--ephemeral-range", "32768-60999", "-c", "conntrack=90%", "-w", "stuck=500"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown.stdout));
    let critical = run(&["--ephemeral-range", "32768-60999", "-c", "stuck=1"]);
    assert_eq!(critical.status.code(), Some(2), "{}", text(&critical.stdout));
}
