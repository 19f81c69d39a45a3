//! The configuration that `closewatch integrate` prints: every command line in it is one that the program takes, and every
//! unit one that systemd takes.

mod support;

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use closewatch::cli::args;
use closewatch::cli::usage::Refusal;
use serde_json::{Value, json};
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
    for (target, n_lines) in [("cron", 1), ("systemd", 1), ("nagios", 1), ("telegraf", 1), ("zabbix-agent", 1)] {
        let text = printed(&[target]);
        let lines = command_lines(&text);
        assert_eq!(lines.len(), n_lines, "{target}:\n{text}");
        for mut line in lines {
            if target == "nagios" {
                let [warning, critical] = ranges(&text);
                line = line.replace("$ARG1$", &warning).replace("$ARG2$", &critical);
            }
            // The rest of a list of TOML.
            line = line.trim_end_matches("\"]").to_owned();
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
fn telegraf_gets_an_input_in_toml() {
    let text = printed(&["telegraf"]);
    let input = toml::de::DeTable::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let exec = input.get_ref()["inputs"].get_ref()["exec"].get_ref()[0].get_ref();
    let said = |key: &str| exec[key].get_ref().as_str().unwrap_or_default().to_owned();
    assert_eq!(said("data_format"), "influx");
    let command = exec["commands"].get_ref()[0].get_ref().as_str().expect("a command");
    assert_eq!(command, format!("{} check --format influx --timeout 4", program()));
    assert_eq!(said("timeout"), "5s", "more than the program gives itself");
}

/// What is growing towards a limit, flat, growing without a process to blame, and no longer looked at.
const SERIES: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'closewatch_ephemeral_ports_used{instance="growing",netns="init"}', values: '15000+150x60'}
      - {series: 'closewatch_ephemeral_ports_limit{instance="growing",netns="init"}', values: '28232x60'}
      - {series: 'closewatch_close_wait_stuck_sockets{instance="growing",owner="telegraf.service"}', values: '0+150x60'}
      - {series: 'closewatch_tcp_sockets{instance="growing",state="close_wait"}', values: '0+150x60'}
      - {series: 'closewatch_stuck_sockets{instance="growing"}', values: '0+150x60'}
      - {series: 'closewatch_ephemeral_ports_used{instance="flat",netns="init"}', values: '13000x60'}
      - {series: 'closewatch_ephemeral_ports_limit{instance="flat",netns="init"}', values: '28232x60'}
      - {series: 'closewatch_close_wait_stuck_sockets{instance="flat",owner="telegraf.service"}', values: '9x60'}
      - {series: 'closewatch_tcp_sockets{instance="flat",state="close_wait"}', values: '5000x60'}
      - {series: 'closewatch_stuck_sockets{instance="flat"}', values: '9x60'}
      - {series: 'closewatch_owner_fds_used_ratio{instance="flat",owner="x"}', values: '0.69x60'}
      - {series: 'closewatch_tcp_sockets{instance="unblamed",state="close_wait"}', values: '0+20x60'}
      - {series: 'closewatch_stuck_sockets{instance="unblamed"}', values: '0x60'}
      - {series: 'closewatch_owner_fds_used_ratio{instance="unblamed",owner="x"}', values: '0.75x60'}
      - {series: 'closewatch_up{instance="growing"}', values: '1x60'}
      - {series: 'closewatch_last_success_timestamp_seconds{instance="growing"}', values: '0+60x60'}
      - {series: 'closewatch_last_success_timestamp_seconds{instance="stale"}', values: '0x60'}
      - {series: 'closewatch_up{instance="blind"}', values: '0x60'}
    promql_expr_test:
      - expr: count by (alertname, instance, severity) (ALERTS{alertstate="firing"})
        eval_time: 35m
        exp_samples:
          - {labels: '{alertname="ClosewatchPorts",instance="growing",severity="critical"}', value: 1}
          - {labels: '{alertname="ClosewatchLeak",instance="growing",severity="critical"}', value: 1}
          - {labels: '{alertname="ClosewatchCloseWaitGrows",instance="unblamed",severity="warning"}', value: 1}
          - {labels: '{alertname="ClosewatchDescriptors",instance="unblamed",severity="warning"}', value: 1}
          - {labels: '{alertname="ClosewatchDown",instance="stale",severity="warning"}', value: 1}
          - {labels: '{alertname="ClosewatchDown",instance="blind",severity="warning"}', value: 1}
      - expr: closewatch:ephemeral_ports:ratio{instance="growing"} < bool 0.8
        eval_time: 35m
        exp_samples: [{labels: '{instance="growing",netns="init"}', value: 1}]
"#;

#[test]
fn the_rules_of_prometheus_tell_what_grows_from_what_does_not() {
    let test = "the_rules_of_prometheus_tell_what_grows_from_what_does_not";
    if !has_program("promtool") {
        return skip(test, "needs the program `promtool`");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let rules = printed(&["prometheus-rules"]);
    fs::write(dir.path().join("rules.yml"), &rules).expect("written");
    let promtool = |series: &str, args: &[&str]| {
        fs::write(dir.path().join("series.yml"), series).expect("written");
        let output = Command::new("promtool").args(args).current_dir(dir.path()).output().expect("promtool starts");
        (output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (well, said) = promtool("", &["check", "rules", "rules.yml"]);
    assert!(well && said.contains("SUCCESS"), "{said}");
    let (well, said) = promtool(SERIES, &["test", "rules", "series.yml"]);
    assert!(well, "{said}");
    // It does find what is not as expected.
    let (well, _) = promtool(&SERIES.replace("'9x60'", "'10x60'"), &["test", "rules", "series.yml"]);
    assert!(!well, "ten stuck sockets are an alert");
    assert!(rules.contains(">= 10 and ") && rules.contains(">= 1000'"), "the thresholds are those of check: {rules}");
}

#[test]
fn only_a_template_has_a_version_of_zabbix() {
    let output =
        closewatch().args(["integrate", "zabbix-agent", "--zabbix", "7.0"]).output().expect("closewatch starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("only a template has a version"), "{}", text(&output.stderr));
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
    assert_eq!(settings(&text, "CapabilityBoundingSet"), ["CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"]);
    for blinding in ["PrivateNetwork=", "ProtectProc=", "ProcSubset="] {
        assert!(!text.contains(blinding), "{blinding} would blind it");
    }
    assert_eq!(settings(&text, "RestrictAddressFamilies"), ["AF_NETLINK"], "sock_diag is netlink");
}

/// What the unit sets under this name.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_finds_the_service_little_exposed() {
    let test = "systemd_finds_the_service_little_exposed";
    if !has_program("systemd-analyze") {
        return skip(test, "needs the program `systemd-analyze`");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let unit = printed(&["systemd", "--unit", "service"]);
    let is_below = |unit: &str, tenths: u32| {
        fs::write(dir.path().join("closewatch.service"), unit).expect("written");
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=yes", "--no-pager", &format!("--threshold={tenths}")]);
        let output = command.arg("./closewatch.service").current_dir(dir.path()).output();
        let output = output.expect("systemd-analyze starts");
        assert!(text(&output.stdout).contains("Overall exposure level"), "{}", text(&output.stderr));
        output.status.success()
    };
    // Below 4 it says OK of a scale to 10.
    assert!(is_below(&unit, 30));
    // It does find what is left open.
    assert!(!is_below(&unit.replace("CapabilityBoundingSet=", "#"), 30));
}

/// The script of [`what_the_timer_remembers_is_what_root_reads`]: what systemd makes of the unit, and then root by hand.
const TIMER_THEN_ROOT: &str = "
set -e
mount -t tmpfs tmpfs /var/lib
mkdir -m \"$1\" /var/lib/closewatch
umask \"$2\"
for look in 1 2; do
    STATE_DIRECTORY=/var/lib/closewatch setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,\"$3\" $4 --quiet >&2 || test $? -lt 3
done
\"$5\" report --json >/var/lib/report
\"$5\" check --json >/var/lib/check || test $? -lt 3
STATE_DIRECTORY=/var/lib/closewatch setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,\"$3\" $4 --json >/var/lib/timer || test $? -lt 3
cat /var/lib/report /var/lib/check /var/lib/timer
";

#[test]
fn what_the_timer_remembers_is_what_root_reads() {
    let test = "what_the_timer_remembers_is_what_root_reads";
    for program in ["unshare", "mount", "setpriv"] {
        if !has_program(program) {
            return skip(test, &format!("needs the program `{program}`"));
        }
    }
    let unit = printed(&["systemd", "--unit", "service"]);
    let one = |name: &str| settings(&unit, name).concat();
    assert_eq!(one("StateDirectory"), "closewatch");
    let capabilities = one("CapabilityBoundingSet").replace("CAP_", "+").replace(' ', ",").to_lowercase();
    let user: &[&str] = if support::is_root() { &[] } else { &["--user", "--map-root-user"] };
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net"]).args(user).args(["sh", "-c", TIMER_THEN_ROOT, "sh"]);
    unshare.args([one("StateDirectoryMode"), one("UMask"), capabilities, one("ExecStart"), program()]);
    let output = unshare.env_remove("STATE_DIRECTORY").output().expect("unshare starts");
    let said = text(&output.stderr);
    if !output.status.success() && said.contains("unshare failed") {
        return skip(test, &format!("needs a mount namespace: {said}"));
    }
    assert!(output.status.success(), "{said}");
    let told: Vec<Value> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .map(|report| report.unwrap_or_else(|error| panic!("{error}: {said}")))
        .collect();
    let looks: Vec<(&Value, &Value)> =
        told.iter().map(|report| (&report["history"]["looks"], &report["history"]["notes"])).collect();
    let none = json!([]);
    // The report reads what the service has remembered, a check by hand adds to it, and the service goes on with that.
    assert_eq!(looks, [(&json!(2), &none), (&json!(2), &none), (&json!(3), &none)], "{said}");
}
