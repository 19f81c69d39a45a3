//! The template at real servers: imported, compared, linked; then leaks are made and mended, and whatever else is told of.

use std::collections::BTreeMap;
use std::fs;

use crate::DESTINATION;
use crate::host::{AVERAGE, Host, WARNING};
use crate::import::import;
use crate::release::Release;
use crate::roles::LISTENER;
use crate::stack::missing;
use crate::support::player::Player;
use crate::support::{in_netns, skip};
use crate::told::what_cannot_be_made;
use crate::world::{OTHER_PORT, POOL, World};

/// How many sockets a leak has: more than a tenth of the ports.
const LEAKED: usize = 300;

/// The edition of the template for 7.0.
const OF_7_0: &[&str] = &["--zabbix", "7.0"];

#[test]
fn the_template_does_on_6_0_what_it_says() {
    let test = "server::the_template_does_on_6_0_what_it_says";
    if let Some(why) = missing(Release::Six) {
        return skip(test, &why);
    }
    in_netns(test, || {
        let mut world = World::start(Release::Six, &[&[]]);
        let silent = silent(&world);
        it_collects(&world);
        it_tells_of_a_leak(&world);
        it_tells_of_what_runs_out(&world);
        it_tells_why_there_is_no_report(&world);
        what_cannot_be_made(&mut world);
        it_tells_of_silence(&world, &silent);
        assert_that_the_server_is_content(&world);
    });
}

#[test]
fn both_editions_do_on_7_0_what_they_say() {
    let test = "server::both_editions_do_on_7_0_what_they_say";
    if let Some(why) = missing(Release::Seven) {
        return skip(test, &why);
    }
    in_netns(test, || {
        let mut world = World::start(Release::Seven, &[OF_7_0, &[]]);
        let silent = silent(&world);
        it_collects(&world);
        let before = it_tells_of_a_leak(&world);
        // Who has imported the edition of 6.0 may change to the other, and keeps what was found.
        import(&world.stack, OF_7_0);
        assert_eq!(it_tells_of_a_leak(&world), before, "items keep their identity, and so their past");
        it_collects(&world);
        it_tells_of_what_runs_out(&world);
        it_tells_why_there_is_no_report(&world);
        what_cannot_be_made(&mut world);
        it_tells_of_silence(&world, &silent);
        assert_that_the_server_is_content(&world);
    });
}

/// A host whose agent does not answer.
fn silent(world: &World) -> Host {
    Host::link(&world.stack, ("silent", OTHER_PORT), &[("NODATA", "30s")])
}

fn assert_that_the_server_is_content(world: &World) {
    let log = world.stack.log();
    // One of the hosts has no agent, and that of the other is started again.
    let is_odd = |line: &&str| line.contains("closewatch") && !line.contains("network error");
    let odd: Vec<&str> = log.lines().filter(is_odd).collect();
    assert!(odd.is_empty(), "the server found something odd: {odd:#?}");
}

/// All items that have something to tell do.
fn it_collects(world: &World) {
    // Of the report no history is kept, and no limit is in sight.
    world.host.collects(&world.stack, &["closewatch.report", "closewatch.eta"]);
    let listening = world.host.value(&world.stack, "state[listen]").parse::<u32>().expect("a number");
    assert!(listening >= 4, "the database, the server, the frontend and the agent listen: {listening}");
    assert_eq!(world.host.names(&world.stack, "netns").len(), 1, "the namespace of the test");
}

/// One leak is one problem, and its process keeps its items when it is started again. Returns the items.
fn it_tells_of_a_leak(world: &World) -> BTreeMap<String, String> {
    let (stack, host) = (&world.stack, &world.host);
    let role = format!("leak {LEAKED}");
    let leak = Player::start(&role, |_| ());
    let holds = |leak: &Player| format!("[{}] holds {LEAKED} sockets to {DESTINATION}", leak.pid());
    let who = holds(&leak);
    let one: &[(&str, &[&str])] = &[(AVERAGE, &["leaks TCP sockets: ", &who, "the oldest for ", "; now: "])];
    host.keeps(stack, one);
    it_collects(world);
    let all = |thing: &str| host.discovered(stack, thing);
    let (process, pool) = (all("process"), all("pool"));
    assert!(host.names(stack, "pool").contains(POOL), "{pool:?}");
    let pool_value = |number: &str| host.value(stack, &format!("pool.{number}[\"{POOL}\"]"));
    assert_eq!([pool_value("used"), pool_value("close_wait")], [LEAKED.to_string(), "100".to_owned()]);
    // What follows from the leak has no problem of its own, as long as that of the leak is there.
    let name = host.names(stack, "process").pop_first().expect("the process");
    let of_descriptors = format!("FDS.MAX.WARN:\"{name}\"");
    host.set(stack, &of_descriptors, "1");
    host.keeps(stack, one);
    host.unset(stack, &of_descriptors);
    drop(leak);
    host.has(stack, &[]);
    let again = Player::start(&role, |_| ());
    host.has(stack, &[(AVERAGE, &[&holds(&again)])]);
    assert_eq!(all("process"), process, "the items of a program stay when it is started again");
    drop(again);
    host.has(stack, &[]);
    [process, pool.into_iter().filter(|(key, _)| key.contains(POOL)).collect()].into_iter().flatten().collect()
}

/// Ports and descriptors that are in use, ghosts, and an accept queue.
fn it_tells_of_what_runs_out(world: &World) {
    let (stack, host) = (&world.stack, &world.host);
    let busy = Player::start("busy 300", |_| ());
    let ports: &[&str] = &["Ports from ", POOL, " run out: 300 used, 15 % of all"];
    host.keeps(stack, &[(AVERAGE, ports), (AVERAGE, &["comes near its limit of descriptors: 8", " % used"])]);
    drop(busy);
    host.has(stack, &[]);
    let ghosts = Player::start("ghosts 15", |_| ());
    host.has(stack, &[(AVERAGE, &["holds descriptors of connections that are over: 15 of them"])]);
    drop(ghosts);
    host.has(stack, &[]);
    let waiting = Player::start("waiting 8", |_| ());
    let queue = format!("The accept queue of {LISTENER}");
    host.has(stack, &[(AVERAGE, &[&queue, "80 % used, 8 wait"])]);
    it_collects(world);
    drop(waiting);
    host.has(stack, &[]);
}

fn it_tells_why_there_is_no_report(world: &World) {
    let (stack, host) = (&world.stack, &world.host);
    fs::write(&world.policy, "[stuk]\n").expect("written");
    host.has(stack, &[(AVERAGE, &["There is no report: ", "there is no threshold `stuk`"])]);
    fs::write(&world.policy, "").expect("written");
    host.has(stack, &[]);
    it_collects(world);
}

/// Of an agent that does not answer, of one that does not know the key, and then of one that does.
fn it_tells_of_silence(world: &World, silent: &Host) {
    let stack = &world.stack;
    let silence: (&str, &[&str]) = (WARNING, &["There has been no report for a while: 30s"]);
    silent.has(stack, &[silence]);
    let stranger = world.other_agent("");
    // The server does not look at a problem any more, nor show it, while there is a worse one that it depends on.
    silent
        .has(stack, &[silence, (AVERAGE, &["There is no report: the agent does not know the key closewatch.report"])]);
    drop(stranger);
    let _agent = world.other_agent(&world.key());
    silent.keeps(stack, &[]);
}
