//! The output of `closewatch check` as a monitoring system reads it: a parser written from the grammar of the Monitoring
//! Plugins Development Guidelines, and names that try to break out of it.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use support::crowd::{Crowd, act};
use support::saved::{LISTENER, leaked_by};
use support::{close_wait, closewatch, in_netns, listen, settle, text};

/// One number of the performance data.
#[derive(Debug, PartialEq)]
struct Number {
    label: String,
    /// `None` for `U`, which is not known.
    value: Option<f64>,
    unit: String,
    warning: String,
    critical: String,
    least: Option<f64>,
    most: Option<f64>,
}

/// What a plugin printed.
#[derive(Debug)]
struct Plugin {
    status: String,
    text: String,
    numbers: Vec<Number>,
    long: Vec<String>,
}

/// Takes `'label'=value[UOM];[warn];[crit];[min];[max]` apart; fails on anything else.
fn number(text: &str) -> (Number, &str) {
    let (label, rest) = label(text);
    let end = rest.find(' ').unwrap_or(rest.len());
    let (fields, rest) = rest.split_at(end);
    let fields: Vec<&str> = fields.split(';').collect();
    assert!(fields.len() <= 5, "more than five fields: {text}");
    let field = |nth: usize| fields.get(nth).copied().unwrap_or_default();
    let digits = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let (value, unit) = match field(0) {
        "U" => (None, String::new()),
        value => {
            let end = value.find(|c| !digits(c)).unwrap_or(value.len());
            (Some(plain_number(&value[..end])), value[end..].to_owned())
        }
    };
    assert!(["", "s", "us", "ms", "%", "B", "KB", "MB", "TB", "c"].contains(&&*unit), "unit {unit:?}: {text}");
    let bound = |text: &str| (!text.is_empty()).then(|| plain_number(text));
    for range in [field(1), field(2)] {
        assert!(range.is_empty() || is_range(range), "{range:?} is no range: {text}");
    }
    let (warning, critical) = (field(1).to_owned(), field(2).to_owned());
    let (least, most) = (bound(field(3)), bound(field(4)));
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    (Number { label, value, unit, warning, critical, least, most }, rest)
}

/// A label, in quotes when it holds a space, `=` or a quote, which is doubled; what follows its `=`.
fn label(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('\'') else {
        let (label, rest) = text.split_once('=').expect("a label and `=`");
        assert!(!label.is_empty() && !label.contains([' ', '\'']), "{text}");
        return (label.to_owned(), rest);
    };
    let mut label = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('\'').expect("the quotes are closed");
        label.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => (rest, _) = (more, label.push('\'')),
            None => return (label, after.strip_prefix('=').expect("`=` behind the quotes")),
        }
    }
}

/// A number of the class `[-0-9.]`.
fn plain_number(text: &str) -> f64 {
    assert!(text.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-'), "{text:?}");
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// `[@]start:end`, where start and `:` may be left out, `~` is minus infinity, and a missing end infinity.
fn is_range(text: &str) -> bool {
    let ends = text.strip_prefix('@').unwrap_or(text);
    let (start, end) = ends.split_once(':').unwrap_or(("0", ends));
    let start = if start == "~" { f64::NEG_INFINITY } else { plain_number(start) };
    start <= if end.is_empty() { f64::INFINITY } else { plain_number(end) }
}

/// Reads the output of a plugin, all of it.
fn plugin(output: &str) -> Plugin {
    assert!(output.len() < 8192, "Nagios cuts {} bytes", output.len());
    assert!(output.chars().all(|c| c == '\n' || !c.is_control()), "{output:?}");
    assert_eq!(output.matches('|').count(), 1, "one `|` begins the numbers: {output}");
    let mut lines = output.strip_suffix('\n').expect("a last line end").split('\n');
    let first = lines.next().expect("a first line");
    let (said, mut rest) = first.split_once(" | ").expect("text and numbers");
    let said = said.strip_prefix("CLOSEWATCH ").expect("the service");
    let (status, told) = said.split_once(" - ").expect("a status and text");
    assert!(first.split(" | ").next().expect("text").chars().count() < 80, "{first}");
    let mut numbers = Vec::new();
    while !rest.is_empty() {
        let (number, more) = number(rest);
        numbers.push(number);
        rest = more;
    }
    let labels: BTreeSet<String> = numbers.iter().map(|number| number.label.chars().take(19).collect()).collect();
    assert_eq!(labels.len(), numbers.len(), "labels differ in their first 19 characters: {numbers:?}");
    let long = lines.map(str::to_owned).collect();
    Plugin { status: status.to_owned(), text: told.to_owned(), numbers, long }
}

fn get<'a>(plugin: &'a Plugin, label: &str) -> &'a Number {
    plugin.numbers.iter().find(|number| number.label == label).unwrap_or_else(|| panic!("no {label}: {plugin:#?}"))
}

/// What a check of a saved text prints.
fn check_saved(dir: &Path, saved: &str, options: &[&str]) -> String {
    let path = dir.join("saved");
    fs::write(&path, saved).expect("written");
    let mut command = closewatch();
    command.args(["check", "--ephemeral-range", "32768-60999", "--from"]).arg(path).args(options);
    let output = command.output().expect("closewatch starts");
    assert_eq!(text(&output.stderr), "", "{saved}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The leak of one process, with pid 1234.
fn leak_of(name: &str, sockets: u16) -> String {
    format!("{LISTENER}{}", leaked_by(name, 1234, sockets))
}

#[test]
fn the_grammar_itself_is_strict() {
    for wrong in ["a=1e3", "a=1;b", "a=1;;;;;", "a b=1", "a='1'", "a=1kB", "a=1;20:10", "=1", "a=", "'a=1"] {
        assert!(std::panic::catch_unwind(|| number(wrong)).is_err(), "{wrong} is read as a number");
    }
    let (read, rest) = number("'it''s a label'=-1.5s;~:10;@2:;0;10 next=1");
    assert_eq!((&*read.label, read.value, &*read.unit, rest), ("it's a label", Some(-1.5), "s", "next=1"));
    assert_eq!((&*read.warning, &*read.critical, read.least, read.most), ("~:10", "@2:", Some(0.0), Some(10.0)));
}

#[test]
fn a_leak_is_told_in_one_line_with_its_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let saved = leak_of("telegraf", 30);
    let read = plugin(&check_saved(dir.path(), &saved, &["-w", "ports=80%", "-w", "eta=7d:", "-c", "ports=@90%:"]));
    assert_eq!(read.status, "WARNING");
    assert!(read.text.starts_with("stuck 30 (telegraf[1234]), eta not known yet"), "{}", read.text);
    let stuck = get(&read, "stuck");
    assert_eq!((stuck.value, &*stuck.unit, &*stuck.warning, &*stuck.critical), (Some(30.0), "", "@10:", "@1000:"));
    let ports = get(&read, "ports");
    assert_eq!(
        (&*ports.unit, &*ports.warning, &*ports.critical),
        ("%", "80", "@90:"),
        "as they were typed, in percent"
    );
    assert!((ports.value.expect("known") - 30.0 / 28_232.0 * 100.0).abs() < 1e-5, "{ports:?}");
    let eta = get(&read, "eta");
    assert_eq!((eta.value, &*eta.warning, &*eta.critical), (None, "604800:", "86400:"));
    assert_eq!(get(&read, "close_wait").value, Some(30.0));
    assert_eq!(get(&read, "sockets").value, Some(31.0));
    assert_eq!(get(&read, "coverage").warning, "");
    assert_eq!(read.numbers.len(), 8 + 1 + 12);
    assert!(read.long.iter().any(|line| line.starts_with("WARNING close_wait_leak: telegraf[1234] ")), "{read:#?}");
    assert!(read.long.iter().any(|line| line.starts_with("  now: ")), "{read:#?}");
}

#[test]
fn the_labels_do_not_depend_on_what_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let labels = |saved: &str| {
        let read = plugin(&check_saved(dir.path(), saved, &[]));
        read.numbers.into_iter().map(|number| number.label).collect::<Vec<_>>()
    };
    assert_eq!(labels(&leak_of("telegraf", 30)), labels(LISTENER));
}

#[test]
fn output_beyond_what_nagios_takes_is_cut_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let leaks = (2..62).map(|pid| leaked_by(&format!("program{pid}"), pid, 12));
    let saved = format!("{LISTENER}{}", leaks.collect::<String>());
    let read = plugin(&check_saved(dir.path(), &saved, &["-v"]));
    let last = read.long.last().expect("a line");
    assert!(last.starts_with("... and ") && last.ends_with(" more lines"), "{last}");
    let brief = plugin(&check_saved(dir.path(), &saved, &[]));
    assert!(brief.long.contains(&"... and 55 more findings (-v shows them)".to_owned()), "{brief:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_name_breaks_out_of_the_text(name in any::<String>(), evil in prop::sample::select(EVIL), verbose in any::<bool>()) {
        let dir = tempfile::tempdir().expect("a directory");
        let cut: String = format!("{evil}{name}").chars().filter(|c| *c != '\n' && *c != '\r').take(15).collect();
        let options: &[&str] = if verbose { &["-v", "-w", "stuck=5"] } else { &["-w", "stuck=5"] };
        let read = plugin(&check_saved(dir.path(), &leak_of(&cut, 12), options));
        assert_eq!((&*read.status, get(&read, "stuck").value), ("WARNING", Some(12.0)), "{cut:?}");
    }
}

const EVIL: &[&str] =
    &["|x=1;2 ", "'quo''ted'=5", "\u{1b}[31m", "\u{9b}2J", "\u{202e}", "$(reboot)`x`", "a=b c|d", "||||||||||||||"];

#[test]
fn a_process_that_calls_itself_numbers_adds_none() {
    in_netns("a_process_that_calls_itself_numbers_adds_none", || {
        let server = listen("127.0.0.2:8086");
        let mut leaked: Vec<TcpStream> = (0..12).map(|_| close_wait(&server)).collect();
        for socket in &mut leaked {
            assert_eq!(socket.read(&mut [0; 8]).expect("it ended well"), 0);
        }
        settle();
        let plain = |options: &[&str]| {
            let mut command = closewatch();
            command.args(["check", "--netns", "current", "--stuck-after", "1ms", "-c", "stuck=5"]).args(options);
            text(&command.output().expect("closewatch starts").stdout)
        };
        fs::write("/proc/self/comm", "|x=9;\n\u{1b}[2J=").expect("a process may name itself");
        support::wait_until("the sockets to be stuck", || plain(&[]).contains(" stuck=12;"));
        for options in [&[][..], &["-v"], &["-vvv"]] {
            let read = plugin(&plain(options));
            assert_eq!(read.status, "CRITICAL");
            assert!(read.text.starts_with("stuck 12 (\\u{7c}x=9;\\n\\u{1b}[2J=["), "{}", read.text);
            assert_eq!(read.numbers.len(), 21, "{read:#?}");
        }
    });
}

#[test]
fn a_player_plays_its_role() {
    act();
}

#[test]
fn programs_with_the_worst_names_are_told_and_add_no_numbers() {
    in_netns("programs_with_the_worst_names_are_told_and_add_no_numbers", || {
        let crowd = Crowd::gather();
        let check = |options: &[&str]| {
            let mut command = closewatch();
            command.args(["check", "--netns", "current", "--no-history", "--stuck-after", "1ms", "-c", "stuck=5"]);
            let output = command.args(options).output().expect("closewatch starts");
            assert_eq!(text(&output.stderr), "");
            plugin(&String::from_utf8(output.stdout).expect("UTF-8"))
        };
        support::wait_until("the sockets to be stuck", || get(&check(&[]), "stuck").value == Some(12.0));
        for options in [&[][..], &["-v"], &["-vvv"]] {
            let read = check(options);
            assert_eq!((read.status.as_str(), read.numbers.len()), ("CRITICAL", 21), "{read:#?}");
            assert_eq!(get(&read, "close_wait").value, Some(crowd.leaked() as f64));
            let told = read.long.iter().filter(|line| line.contains(" close_wait_leak: "));
            assert!(told.count() >= 5, "{read:#?}");
        }
    });
}
