//! Zabbix: the document, the key of the agent, the template, and all of it at a real agent and a real server.

mod agent;
mod document;
mod plain_yaml;
mod server;
mod stack;
mod template;

#[path = "../support/mod.rs"]
mod support;

use std::io::Read;
use std::net::TcpStream;

use support::crowd;

/// Where the leaks of these tests go to.
const DESTINATION: &str = "127.0.0.2:8086";

/// How many sockets a leak has.
const LEAKED: usize = 25;

#[test]
fn a_player_plays_its_role() {
    support::player::play(|role, nth| {
        if role == crowd::ROLE {
            return (None, crowd::leak(nth));
        }
        let server = support::listen(DESTINATION);
        let mut sockets: Vec<TcpStream> = (0..LEAKED).map(|_| support::close_wait(&server)).collect();
        for socket in &mut sockets {
            assert_eq!(socket.read(&mut [0; 8]).expect("it ended well"), 0);
        }
        (Some(server), sockets)
    });
}

/// What `closewatch integrate` prints.
fn integrate(options: &[&str]) -> String {
    let output = support::closewatch().arg("integrate").args(options).output().expect("closewatch starts");
    assert_eq!((output.status.code(), support::text(&output.stderr)), (Some(0), String::new()), "{options:?}");
    support::text(&output.stdout)
}
