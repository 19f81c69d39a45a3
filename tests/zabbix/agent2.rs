//! The same file at agent 2, of both releases: tested by the agent itself, and asked of a running one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::agent::{GET, as_zabbix, key, place};
use crate::release::Release;
use crate::support::service::{Service, answers};
use crate::support::{in_netns, run, skip, text, wait_until};

const AGENT: &str = "zabbix_agent2";

#[test]
fn agent_2_of_6_0_answers_with_the_document() {
    answers_with_the_document("agent2::agent_2_of_6_0_answers_with_the_document", Release::Six);
}

#[test]
fn agent_2_of_7_0_answers_with_the_document() {
    answers_with_the_document("agent2::agent_2_of_7_0_answers_with_the_document", Release::Seven);
}

/// A main file that includes the printed one, as the agent's own does.
fn configure(dir: &Path, program: &Path) -> PathBuf {
    let name = dir.display();
    let config = dir.join("zabbix_agent2.conf");
    let content = format!(
        "PidFile={name}/agent2.pid\nLogType=console\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort=10050\nHostname=test\n\
         ControlSocket={name}/agent.sock\nPluginSocket={name}/plugin.sock\nInclude={name}/closewatch.conf\n"
    );
    fs::write(&config, content).expect("written");
    fs::write(dir.join("closewatch.conf"), key(program, " --netns current") + "\n").expect("written");
    config
}

fn document(said: &str) -> Value {
    let document: Value = serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((&document["schema"], &document["error"]), (&"closewatch.zabbix/1".into(), &"".into()), "{said}");
    document
}

fn answers_with_the_document(test: &str, release: Release) {
    if let Some(why) = release.missing(&[AGENT]) {
        return skip(test, &why);
    }
    in_netns(test, || {
        let (dir, program) = place();
        let (agent, config) = (release.program(AGENT, dir.path()), configure(dir.path(), &program));
        let tested = |key: &str| {
            let output = as_zabbix(&agent).arg("-c").arg(&config).args(["-t", key]).output().expect("setpriv starts");
            text(&output.stdout) + &text(&output.stderr)
        };
        let said = tested("closewatch.report");
        let value = said.split_once("[s|").and_then(|(_, value)| value.trim_end().strip_suffix(']'));
        document(value.unwrap_or_else(|| panic!("{said}")));
        let said = tested("closewatch.report[x]");
        assert!(said.contains("ZBX_NOTSUPPORTED"), "a parameter reaches no shell: {said}");

        let mut command = as_zabbix(&agent);
        let _agent = Service::start(command.arg("-c").arg(&config).stdout(Stdio::null()));
        wait_until("agent 2 to listen", || answers(10_050));
        let get = || text(&run(GET, &["-s", "127.0.0.1", "-p", "10050", "-k", "closewatch.report"]).stdout);
        let states = document(&get())["states"].clone();
        assert!(states["listen"].as_u64() > Some(0), "it sees the agent itself: {states}");
        fs::remove_file(&program).expect("removed");
        assert!(get().contains("not found"), "{}", get());
    });
}
