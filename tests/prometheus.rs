//! `closewatch check --format prometheus`: read by a parser of our own, by promtool, by the OpenMetrics parser of Prometheus's
//! Python client, and by a running node exporter.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use support::crowd::{Crowd, LEAKED_EACH};
use support::saved::{EVIL_NAMES, LISTENER, check_file, check_saved, leaked_by};
use support::service::{Service, answers, free_port, http};
use support::{close_wait, closewatch, has_program, in_netns, listen, skip, text, wait_until};

const NODE_EXPORTER: &str = "prometheus-node-exporter";

/// The samples of a family, by their labels as they are written.
type Families = BTreeMap<String, BTreeMap<String, f64>>;

/// Reads the text by the rules of both formats, and by those that promtool does not look at: every family is whole, has a help
/// and a type before its samples, no sample twice and no timestamp.
fn families(page: &str) -> Families {
    let body = page.strip_suffix("# EOF\n").expect("it ends in # EOF and a line end");
    assert!(!page.contains('\r'), "{page}");
    let mut families = Families::new();
    let mut open: Option<String> = None;
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, sentence) = help.split_once(' ').expect("a name and a help");
            assert!(sentence.ends_with('.') && !sentence.contains('\\'), "{line}");
            assert_eq!(lines.next(), Some(&*format!("# TYPE {name} gauge")), "{line}");
            assert!(is_name(name) && name.starts_with("closewatch_"), "{line}");
            assert!(!name.contains("_total") && !name.ends_with("_count"), "a gauge is no counter: {line}");
            assert!(families.insert(name.to_owned(), BTreeMap::new()).is_none(), "a family comes twice: {line}");
            open = Some(name.to_owned());
            continue;
        }
        assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
        let (name, labels, value) = sample(line);
        assert_eq!(Some(name), open.as_deref(), "a sample outside of its family: {line}");
        let value = match value {
            "NaN" => f64::NAN,
            "+Inf" => f64::INFINITY,
            number => number.parse().unwrap_or_else(|error| panic!("{line}: {error}: a timestamp?")),
        };
        let samples = families.get_mut(name).expect("it is open");
        assert!(samples.insert(labels.to_owned(), value).is_none(), "a sample comes twice: {line}");
    }
    families
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Takes `name{label="value",...} value` apart; fails on anything else.
fn sample(line: &str) -> (&str, &str, &str) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, rest) = line.split_at(end);
    let Some(rest) = rest.strip_prefix('{') else { return (name, "", rest.trim_start_matches(' ')) };
    let mut at = 0;
    loop {
        let label = rest[at..].split('=').next().expect("a label");
        assert!(is_name(label), "{line}");
        assert!(!label.contains("pid") && !label.contains("peer"), "{line}");
        at += label.len() + 1;
        assert_eq!(&rest[at..=at], "\"", "{line}");
        at += 1;
        let mut escaped = false;
        for c in rest[at..].chars() {
            at += c.len_utf8();
            match (escaped, c) {
                (true, 'n' | '\\' | '"') => escaped = false,
                (true, _) => panic!("an escape that there is not: {line}"),
                (false, '\\') => escaped = true,
                (false, '"') => break,
                (false, _) => {}
            }
        }
        match &rest[at..=at] {
            "," => at += 1,
            "}" => return (name, &rest[..at], rest[at + 1..].strip_prefix(' ').expect("a value")),
            other => panic!("{other:?}: {line}"),
        }
    }
}

/// What a program says of the text on its standard input.
fn verdict_of(program: &mut Command, page: &str) -> (bool, String) {
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

fn promtool(page: &str) -> (bool, String) {
    verdict_of(Command::new("promtool").args(["check", "metrics"]), page)
}

/// Pages of every kind: a quiet look, leaks by names that try to break out, and a look that failed.
fn pages() -> Vec<String> {
    let evil: String = (2..).zip(EVIL_NAMES).map(|(pid, name)| leaked_by(name, pid, 12)).collect();
    let page = |saved: &str, options: &[&str]| text(&check_saved(saved, "prometheus", options).stdout);
    vec![
        page(LISTENER, &[]),
        page(&format!("{LISTENER}{evil}"), &[]),
        page(&format!("{LISTENER}{evil}"), &["--port-range", "mine=40000-40005", "--snat-limit", "64"]),
        text(&closewatch().args(["check", "--no-history", "--format", "prometheus"]).output().expect("starts").stdout),
    ]
}

#[test]
fn every_page_keeps_the_rules_of_both_formats() {
    for page in pages() {
        let families = families(&page);
        assert_eq!(families["closewatch_tcp_sockets"].len(), 12, "every state has a sample: {page}");
        assert_eq!(families["closewatch_up"][""], 1.0);
        assert_eq!(families["closewatch_verdict"].values().sum::<f64>(), 1.0);
        for needed in ["scan_duration_seconds", "coverage_ratio", "collect_partial", "last_success_timestamp_seconds"] {
            assert!(families.contains_key(&format!("closewatch_{needed}")), "{needed}: {page}");
        }
    }
}

#[test]
fn promtool_finds_no_fault() {
    if !has_program("promtool") {
        return skip("promtool_finds_no_fault", "needs the program `promtool`");
    }
    for page in pages() {
        assert_eq!(promtool(&page), (true, String::new()), "{page}");
    }
    // It does find faults.
    let page = &pages()[0];
    assert!(!promtool(&page.replace("_seconds", "_milliseconds")).0);
    assert!(!promtool(&page.replace("state=\"listen\"", "state=\"lis\nten\"")).0);
}

#[test]
fn an_openmetrics_parser_finds_no_fault() {
    let test = "an_openmetrics_parser_finds_no_fault";
    // Debian's own, which knows Debian's packages, and else the first of the path.
    let has_parser = |python: &&str| {
        let import = Command::new(python).args(["-c", "import prometheus_client.openmetrics.parser"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(has_parser) else {
        return skip(test, "needs python3 with prometheus_client");
    };
    let script = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
                  print(sum(len(family.samples) for family in read(sys.stdin.read())))";
    let parser = |page: &str| verdict_of(Command::new(python).args(["-c", script]), page);
    for page in pages() {
        let n_samples: usize = families(&page).values().map(BTreeMap::len).sum();
        assert_eq!(parser(&page), (true, format!("{n_samples}\n")), "{page}");
    }
    assert!(!parser(pages()[0].trim_end_matches("# EOF\n")).0, "it does find faults");
}

#[test]
fn labels_are_few_however_many_processes_there_are() {
    let many: String = (2..5_002).map(|pid| leaked_by(&format!("worker-{pid}"), pid, 1)).collect();
    let page = text(&check_saved(&format!("{LISTENER}{many}"), "prometheus", &[]).stdout);
    let families = families(&page);
    let owners = &families["closewatch_close_wait_sockets"];
    assert_eq!(owners.len(), 33, "{owners:?}");
    assert_eq!(owners.values().sum::<f64>(), 5_000.0, "what is not listed is counted under other");
    assert_eq!(owners["owner=\"other\",by=\"other\""], 5_000.0 - 32.0);
    let n_samples: usize = families.values().map(BTreeMap::len).sum();
    assert!(n_samples < 600, "{n_samples} samples");
}

#[test]
fn a_program_is_called_the_same_after_a_restart() {
    let owners = |pid: u16| -> BTreeSet<String> {
        let page =
            text(&check_saved(&format!("{LISTENER}{}", leaked_by("telegraf", pid, 12)), "prometheus", &[]).stdout);
        families(&page)["closewatch_close_wait_sockets"].keys().cloned().collect()
    };
    assert_eq!(owners(1234), owners(777));
    assert!(owners(1234).contains("owner=\"telegraf\",by=\"process\""), "{:?}", owners(1234));
}

#[test]
fn real_sockets_are_counted_under_the_executable_that_holds_them() {
    in_netns("real_sockets_are_counted_under_the_executable_that_holds_them", || {
        fs::write("/proc/self/comm", "liar\"\n\u{1b}").expect("a process may name itself");
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..40).map(|_| close_wait(&server)).collect();
        support::settle();
        let options = ["check", "--netns", "current", "--no-history", "--format", "prometheus", "--stuck-after", "1ms"];
        let mut page = String::new();
        wait_until("the sockets to be stuck", || {
            page = text(&closewatch().args(options).output().expect("closewatch starts").stdout);
            page.contains("\nclosewatch_stuck_sockets 40\n")
        });
        let families = families(&page);
        let program = std::env::current_exe().expect("a path");
        let name = program.file_name().expect("a name").to_string_lossy().into_owned();
        let of_us: Vec<_> =
            families["closewatch_close_wait_sockets"].iter().filter(|(_, held)| **held == 40.0).collect();
        let (label, _) = of_us.first().expect("somebody holds them");
        assert!(
            label.ends_with(".service\",by=\"unit\"") || **label == format!("owner=\"{name}\",by=\"executable\""),
            "{label}"
        );
        assert_eq!(families["closewatch_tcp_sockets"]["state=\"close_wait\""], 40.0);
        assert_eq!(families["closewatch_ephemeral_ports_used"].values().sum::<f64>(), 40.0);
    });
}

#[test]
fn a_look_that_fails_says_so_in_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("closewatch.prom");
    let file = file.to_str().expect("a plain path");
    let well = check_saved(LISTENER, "prometheus", &["--output", file]);
    assert!(well.stdout.is_empty() && well.stderr.is_empty(), "{}", text(&well.stderr));
    assert_eq!(families(&fs::read_to_string(file).expect("written"))["closewatch_up"][""], 1.0);
    let ill = check_saved("no table\n", "prometheus", &["--output", file]);
    assert_eq!(ill.status.code(), Some(3));
    assert!(text(&ill.stderr).starts_with("closewatch: "), "{}", text(&ill.stderr));
    let families = families(&fs::read_to_string(file).expect("written"));
    assert_eq!((families.len(), families["closewatch_up"][""]), (1, 0.0));
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (small, large) = (dir.path().join("small"), dir.path().join("large"));
    fs::write(&small, LISTENER).expect("written");
    let leaks: String = (2..42).map(|pid| leaked_by(&format!("program{pid}"), pid, 12)).collect();
    fs::write(&large, format!("{LISTENER}{leaks}")).expect("written");
    let file = dir.path().join("closewatch.prom");
    let output = file.to_str().expect("a plain path");
    let write = |from| assert_eq!(text(&check_file(from, "prometheus", &["--output", output]).stderr), "");
    write(&small);
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o644);
    let done = AtomicBool::new(false);
    let sizes = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut sizes = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                let page = fs::read_to_string(&file).expect("there is always a file");
                assert!(page.starts_with("# HELP ") && page.ends_with("\n# EOF\n"), "half a file: {page}");
                *sizes.entry(page.lines().count()).or_insert(0) += 1;
            }
            sizes
        });
        for nth in 0..40 {
            write(if nth % 2 == 0 { &large } else { &small });
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader saw whole files")
    });
    assert_eq!(sizes.len(), 2, "it read both: {sizes:?}");
    let left: Vec<_> = fs::read_dir(dir.path()).expect("there").collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// A node exporter that exposes the files of this directory, and its port.
fn exporter(dir: &Path) -> (Service, u16) {
    let port = free_port();
    let mut command = Command::new(NODE_EXPORTER);
    command.args(["--collector.disable-defaults", "--collector.textfile", "--log.level=error"]);
    command.arg(format!("--collector.textfile.directory={}", dir.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let exporter = Service::start(command.stderr(Stdio::null()));
    wait_until("the exporter to listen", || answers(port));
    (exporter, port)
}

#[test]
fn a_node_exporter_exposes_it() {
    if !has_program(NODE_EXPORTER) {
        return skip("a_node_exporter_exposes_it", "needs the program `prometheus-node-exporter`");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("closewatch.prom");
    let evil: String = (2..).zip(EVIL_NAMES).map(|(pid, name)| leaked_by(name, pid, 12)).collect();
    check_saved(&format!("{LISTENER}{evil}"), "prometheus", &["--output", file.to_str().expect("a plain path")]);
    let (_exporter, port) = exporter(dir.path());
    let scraped = http(port, "GET /metrics", "", "");
    let has = |line: &str| scraped.lines().any(|scraped| scraped == line);
    assert!(has("node_textfile_scrape_error 0"), "{scraped}");
    assert!(has(&format!("closewatch_tcp_sockets{{state=\"close_wait\"}} {}", 12 * EVIL_NAMES.len())), "{scraped}");
    let written = fs::read_to_string(&file).expect("written");
    // It leaves out families without samples.
    for (name, _) in families(&written).iter().filter(|(_, samples)| !samples.is_empty()) {
        assert!(has(&format!("# TYPE {name} gauge")), "{name} is exposed: {scraped}");
    }
    // It would tell of a fault.
    fs::write(&file, written.replace("closewatch_up 1", "closewatch_up 1 1700000000")).expect("written");
    assert!(http(port, "GET /metrics", "", "").contains("node_textfile_scrape_error 1"), "a timestamp is a fault");
}

#[test]
fn a_player_plays_its_role() {
    support::crowd::act();
}

#[test]
fn programs_with_the_worst_names_are_exposed_one_by_one() {
    let test = "programs_with_the_worst_names_are_exposed_one_by_one";
    if let Some(missing) = ["promtool", NODE_EXPORTER].into_iter().find(|program| !has_program(program)) {
        return skip(test, &format!("needs the program `{missing}`"));
    }
    in_netns(test, || {
        let crowd = Crowd::gather();
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("closewatch.prom");
        let output = file.to_str().expect("a plain path");
        let options = ["check", "--netns", "current", "--no-history", "--format", "prometheus", "--output", output];
        assert_eq!(text(&closewatch().args(options).output().expect("closewatch starts").stderr), "");
        let page = fs::read_to_string(&file).expect("written");
        assert_eq!(promtool(&page), (true, String::new()), "{page}");
        let families = families(&page);
        let holders = families["closewatch_close_wait_sockets"].values().filter(|held| **held > 0.0);
        // All are one where the tests run in a unit of systemd.
        let by_unit = page.contains(".service\",by=\"unit\"} 120");
        assert!(by_unit || holders.clone().all(|held| *held == LEAKED_EACH as f64), "{page}");
        assert!(by_unit || holders.count() == crowd.count, "no two names became one: {page}");
        let (_exporter, port) = exporter(dir.path());
        let scraped = http(port, "GET /metrics", "", "");
        assert!(scraped.lines().any(|line| line == "node_textfile_scrape_error 0"), "{scraped}");
        assert!(scraped.contains(&format!("\nclosewatch_tcp_sockets{{state=\"close_wait\"}} {}\n", crowd.leaked())));
        for line in page.lines().filter(|line| line.starts_with("closewatch_close_wait_sockets{")) {
            // It writes the labels in the order of their names.
            let owner = line.split("owner=").nth(1).and_then(|rest| rest.split(",by").next()).expect("a label");
            assert!(scraped.contains(&format!("owner={owner}}}")), "{owner} is exposed: {scraped}");
        }
    });
}
