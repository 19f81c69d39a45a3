//! The configuration that `closewatch integrate` prints: every command line in it is one that the program takes, and every
//! unit one that systemd takes.

mod support;

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use closewatch::cli::args;
use closewatch::cli::usage::Refusal;
use support::{closewatch, has_program, skip, text};

fn printed(options: &[&str]) -> String {
    let output = closewatch().arg("integrate").args(options).output().expect("closewatch starts");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{options:?}");
    text(&output.stdout)
}

/// The path of the program, as it finds it out.
fn program() -> String {
    let path = fs::canonicalize(env!("CARGO_BIN_EXE_closewatch")).expect("it was built");
    path.to_str().expect("a plain path").to_owned()
}

/// The command lines in the text, from the program on, comments left out.
fn command_lines(text: &str) -> Vec<String> {
    let program = program();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.filter_map(|line| line.find(&program).map(|at| line[at..].to_owned())).collect()
}

#[test]
fn every_command_line_is_one_that_the_program_takes() {
    let ranges = |nagios: &str| {
        let line = nagios.lines().find(|line| line.trim_start().starts_with("check_command")).expect("a service");
        let mut parts = line.split('!').skip(1).map(str::to_owned);
        [parts.next().expect("warnings"), parts.next().expect("critical ranges")]
    };
    for (target, n_lines) in [("cron", 1), ("systemd", 1), ("nagios", 1)] {
        let text = printed(&[target]);
        let lines = command_lines(&text);
        assert_eq!(lines.len(), n_lines, "{target}:\n{text}");
        for mut line in lines {
            if target == "nagios" {
                let [warning, critical] = ranges(&text);
                line = line.replace("$ARG1$", &warning).replace("$ARG2$", &critical);
            }
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            if let Err(Refusal::Usage(error)) = args::parse(words.clone()) {
                panic!("{line}: {error}");
            }
            // It is run, too: values are read after options.
            let output = Command::new(&words[0]).args(&words[1..]).output().expect("closewatch starts");
            assert_eq!(text_of_refusal(&output.stderr), None, "{line}");
        }
    }
}

fn text_of_refusal(stderr: &[u8]) -> Option<String> {
    Some(text(stderr)).filter(|said| said.contains("hint: "))
}

#[test]
fn ranges_of_nagios_are_the_defaults() {
    let text = printed(&["nagios"]);
    assert!(text.contains("check_closewatch!ports=@50%:,stuck=@10:!ports=@80%:,stuck=@1000:"), "{text}");
}

#[test]
fn cron_gets_a_file_that_it_reads() {
    let text = printed(&["cron"]);
    assert!(text.ends_with('\n'), "cron passes over a last line without an end");
    let jobs: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.contains('=')).collect();
    assert_eq!(jobs.concat().matches('%').count(), 0, "{text}");
    let job = text.lines().find(|line| line.contains(" check ")).expect("a job");
    let fields: Vec<&str> = job.split_whitespace().collect();
    assert_eq!(fields[..6], ["*/5", "*", "*", "*", "*", "root"], "{job}");
    assert!(fields.contains(&"--quiet"), "{job}");
}

#[test]
fn units_can_be_printed_one_by_one() {
    let both = printed(&["systemd"]);
    for unit in ["service", "timer"] {
        let one = printed(&["systemd", "--unit", unit]);
        assert!(both.contains(&one) && one.starts_with(&format!("# /etc/systemd/system/closewatch.{unit}\n")), "{one}");
    }
    let output = closewatch().args(["integrate", "cron", "--unit", "timer"]).output().expect("closewatch starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("only systemd has units"), "{}", text(&output.stderr));
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let test = "systemd_finds_no_fault_with_the_units";
    if !has_program("systemd-analyze") {
        return skip(test, "needs the program `systemd-analyze`");
    }
    let dir = tempfile::tempdir().expect("a directory");
    for unit in ["service", "timer"] {
        let path = dir.path().join(format!("closewatch.{unit}"));
        fs::write(&path, printed(&["systemd", "--unit", unit])).expect("written");
    }
    let verify = || {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).current_dir(dir.path());
        command.args(["./closewatch.service", "./closewatch.timer"]).output().expect("systemd-analyze starts")
    };
    let output = verify();
    let of_ours =
        |said: &str| said.lines().filter(|line| line.contains("closewatch")).map(str::to_owned).collect::<Vec<_>>();
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), of_ours(&said)), (Some(0), Vec::new()), "{said}");
    // It does find faults.
    let service = dir.path().join("closewatch.service");
    let broken = fs::read_to_string(&service).expect("there").replace("ProtectSystem=strict", "ProtectSystm=strict");
    fs::write(&service, broken).expect("written");
    let said = text(&verify().stderr);
    assert!(!of_ours(&said).is_empty(), "a misspelt setting passes: {said}");
}

#[test]
fn the_service_has_the_capabilities_that_it_needs_and_no_other() {
    let text = printed(&["systemd", "--unit", "service"]);
    for setting in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        let line = text.lines().find(|line| line.starts_with(setting)).expect("it is set");
        assert_eq!(line, format!("{setting}=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"));
    }
    for blinding in ["PrivateNetwork=", "ProtectProc=", "ProcSubset="] {
        assert!(!text.contains(blinding), "{blinding} would blind it");
    }
    assert!(text.contains("RestrictAddressFamilies=AF_UNIX AF_NETLINK\n"), "sock_diag is netlink");
}
