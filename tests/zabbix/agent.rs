//! The key at a real agent: tested by the agent itself, and asked of a running one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::crowd::{Crowd, LEAKED_EACH};
use crate::support::nobody::public_place;
use crate::support::service::{Service, answers};
use crate::support::{closewatch, in_netns, is_root, run, skip, text, wait_until};

/// The programs of the agent, where Debian installs them.
pub(crate) const AGENT: &str = "zabbix_agentd";
pub(crate) const GET: &str = "zabbix_get";

/// Why the agent cannot be tested here.
fn missing() -> Option<String> {
    if !is_root() {
        return Some("needs root, to become the user of the agent".to_owned());
    }
    [AGENT, GET]
        .into_iter()
        .find(|name| !crate::support::has_program(name))
        .map(|name| format!("needs the program `{name}`"))
}

/// The user parameter as it is printed for this program, with further options.
pub(crate) fn key(program: &Path, options: &str) -> String {
    let printed = crate::integrate(&["zabbix-agent"]);
    let built = fs::canonicalize(env!("CARGO_BIN_EXE_closewatch")).expect("it was built");
    let key = printed.replace(built.to_str().expect("a plain path"), program.to_str().expect("a plain path"));
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(lines.len(), 1, "one key: {key}");
    assert!(!lines[0].contains(['$', '*']), "it has no parameters: {key}");
    format!("{}{options}", lines[0])
}

/// A configuration of the agent in this directory, with the user parameter.
pub(crate) fn configure(dir: &Path, program: &Path, options: &str) -> PathBuf {
    let key = key(program, options);
    let dir_name = dir.display();
    let config = dir.join("zabbix_agentd.conf");
    let content = format!(
        "PidFile={dir_name}/agent.pid\nLogType=console\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort=10050\n\
         StartAgents=2\nHostname=test\n{key}\n"
    );
    fs::write(&config, content).expect("written");
    config
}

/// A command as the user of the agent.
pub(crate) fn as_zabbix(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=zabbix", "--regid=zabbix", "--clear-groups"]).arg(program).current_dir("/");
    command
}

/// A directory that the agent may write to, and the program in it.
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let (dir, program) = public_place();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("chmod");
    (dir, program)
}

#[test]
fn the_agent_takes_the_key_and_tests_it() {
    let test = "agent::the_agent_takes_the_key_and_tests_it";
    if let Some(why) = missing() {
        return skip(test, &why);
    }
    in_netns(test, || {
        let (dir, program) = place();
        let config = configure(dir.path(), &program, " --netns current");
        let output =
            as_zabbix(AGENT).arg("-c").arg(&config).args(["-t", "closewatch.report"]).output().expect("starts");
        let said = text(&output.stdout);
        let value = said.split_once("[t|").and_then(|(_, value)| value.trim_end().strip_suffix(']'));
        let document: Value = serde_json::from_str(value.unwrap_or_else(|| panic!("{said}"))).expect("JSON");
        assert_eq!((&document["schema"], &document["error"]), (&"closewatch.zabbix/1".into(), &"".into()), "{said}");
        let with_parameter = as_zabbix(AGENT).arg("-c").arg(&config).args(["-t", "closewatch.report[x]"]).output();
        let said = text(&with_parameter.expect("starts").stdout);
        assert!(said.contains("ZBX_NOTSUPPORTED"), "a parameter reaches no shell: {said}");
    });
}

#[test]
fn a_running_agent_answers_with_the_document() {
    let test = "agent::a_running_agent_answers_with_the_document";
    if let Some(why) = missing() {
        return skip(test, &why);
    }
    in_netns(test, || {
        let (dir, program) = place();
        let config = configure(dir.path(), &program, " --netns current");
        let _agent = Service::start(as_zabbix(AGENT).arg("-f").arg("-c").arg(&config).stdout(Stdio::null()));
        wait_until("the agent to listen", || answers(10_050));
        let get = || text(&run(GET, &["-s", "127.0.0.1", "-p", "10050", "-k", "closewatch.report"]).stdout);
        let document: Value = serde_json::from_str(&get()).expect("JSON");
        assert_eq!((&document["error"], &document["partial"]), (&"".into(), &false.into()));
        assert!(document["states"]["listen"].as_u64() > Some(0), "it sees the agent itself: {document}");
        // A program that is gone is no report, and says so to whoever reads the error.
        fs::remove_file(&program).expect("removed");
        assert!(get().contains("not found"), "{}", get());
    });
}

#[test]
fn a_running_agent_hands_on_the_worst_names() {
    let test = "agent::a_running_agent_hands_on_the_worst_names";
    if let Some(why) = missing() {
        return skip(test, &why);
    }
    in_netns(test, || {
        let crowd = Crowd::gather();
        let (dir, program) = place();
        let config = configure(dir.path(), &program, " --netns current --no-history");
        let ask = |agent: &mut Command| -> Value {
            let _agent = Service::start(agent.arg("-f").arg("-c").arg(&config).stdout(Stdio::null()));
            wait_until("the agent to listen", || answers(10_050));
            let value = run(GET, &["-s", "127.0.0.1", "-p", "10050", "-k", "closewatch.report"]).stdout;
            serde_json::from_slice(&value).unwrap_or_else(|error| panic!("{error}: {}", text(&value)))
        };
        let leakers = |document: &Value| -> Vec<Value> {
            assert_eq!(document["states"]["close_wait"], crowd.leaked());
            let rows = document["processes"].as_array().expect("a list").iter();
            rows.filter(|row| row["close_wait"] != 0).cloned().collect()
        };
        let seen = leakers(&ask(&mut as_zabbix(AGENT)));
        assert_eq!((seen.len(), &seen[0]["close_wait"]), (1, &crowd.leaked().into()), "one user, one row: {seen:#?}");
        // As root it sees who they are.
        let settings = fs::read_to_string(&config).expect("written");
        fs::write(&config, format!("{settings}AllowRoot=1\n")).expect("written");
        let seen = leakers(&ask(&mut Command::new(AGENT)));
        // All are one where the tests run in a unit of systemd.
        if seen[0]["by"] != "unit" {
            let names: BTreeSet<&str> = seen.iter().filter_map(|row| row["name"].as_str()).collect();
            assert_eq!(names.len(), crowd.count, "no two names became one: {names:?}");
            assert!(seen.iter().all(|row| row["close_wait"] == LEAKED_EACH), "{seen:#?}");
        }
    });
}

#[test]
fn the_way_by_a_file_says_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("zabbix.json");
    let options = [
        "check",
        "--netns",
        "current",
        "--no-history",
        "--format",
        "zabbix",
        "--output",
        file.to_str().expect("a plain path"),
    ];
    let output = closewatch().args(options).output().expect("closewatch starts");
    assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), String::new()));
    let read = || -> Value { serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON") };
    assert_eq!(read()["error"], "");
    let failed = closewatch().args(options).args(["--policy", "/nonexistent"]).output().expect("closewatch starts");
    assert_eq!((failed.status.code(), text(&failed.stderr)), (Some(3), String::new()));
    let error = read()["error"].as_str().expect("a reason").to_owned();
    assert!(error.contains("/nonexistent"), "the old file would look well: {error}");
}
