//! Zabbix: the document, the key of the agent, the template, and all of it at a real agent and a real server.

mod agent;
mod agent2;
mod document;
mod host;
mod import;
mod plain_yaml;
mod release;
mod roles;
mod server;
mod stack;
mod template;
mod told;
mod world;

#[path = "../support/mod.rs"]
mod support;

/// Where the leaks of these tests go to.
const DESTINATION: &str = "127.0.0.2:8086";

/// How many sockets a leak has.
const LEAKED: usize = 25;

#[test]
fn a_player_plays_its_role() {
    support::player::play(roles::act);
}

/// What `closewatch integrate` prints.
fn integrate(options: &[&str]) -> String {
    let output = support::closewatch().arg("integrate").args(options).output().expect("closewatch starts");
    assert_eq!((output.status.code(), support::text(&output.stderr)), (Some(0), String::new()), "{options:?}");
    support::text(&output.stdout)
}
