//! The template at a real server: imported, compared, linked, and a leak made and mended.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::agent::{AGENT, configure};
use crate::stack::{Stack, missing, wait_for};
use crate::support::nobody::public_place;
use crate::support::player::Player;
use crate::support::service::Service;
use crate::support::{in_netns, skip};
use crate::template::{objects, template};
use crate::{DESTINATION, LEAKED};

/// The name of the template.
const TEMPLATE: &str = "Closewatch by Zabbix agent";

/// What an import may do: everything.
fn import(stack: &Stack, source: &str) {
    let both = json!({"createMissing": true, "updateExisting": true});
    let all = json!({"createMissing": true, "updateExisting": true, "deleteMissing": true});
    let rules = json!({
        "groups": both, "templates": both, "templateLinkage": {"createMissing": true, "deleteMissing": true},
        "templateDashboards": all, "items": all, "discoveryRules": all, "triggers": all, "graphs": all, "httptests": all,
        "valueMaps": all,
    });
    let done = stack.call("configuration.import", &json!({"format": "yaml", "source": source, "rules": rules}));
    assert_eq!(done, json!(true));
}

fn template_id(stack: &Stack) -> String {
    let found = stack.call("template.get", &json!({"filter": {"host": [TEMPLATE]}}));
    found[0]["templateid"].as_str().expect("it is there").to_owned()
}

/// Every object of the file is on the server, with every field, but for those that an export leaves out because they are as by
/// default; and the server has no other.
fn assert_nothing_is_lost(stack: &Stack) {
    let asked = json!({"format": "json", "options": {"templates": [template_id(stack)]}});
    let exported = stack.call("configuration.export", &asked);
    let exported: Value = serde_json::from_str(exported.as_str().expect("a text")).expect("JSON");
    let (written, held) = (objects(&template(&[])), objects(&exported));
    assert_eq!(written.keys().collect::<Vec<_>>(), held.keys().collect::<Vec<_>>());
    for (identity, object) in &written {
        assert_same(object, &held[identity], &format!("{identity:?} {}", object["name"]));
    }
}

/// What an export leaves out because it is as by default.
const DEFAULTS: [(&str, &str); 6] = [
    ("type", "ZABBIX_PASSIVE"),
    ("trends", "365d"),
    ("value_type", "UNSIGNED"),
    ("lifetime", "30d"),
    ("error_handler_params", ""),
    ("delay", "1m"),
];

/// Lists of objects with identities of their own: they are compared by identity, wherever the server puts them.
const APART: [&str; 9] = [
    "items",
    "item_prototypes",
    "discovery_rules",
    "triggers",
    "trigger_prototypes",
    "graph_prototypes",
    "dashboards",
    "valuemaps",
    "widgets",
];

fn assert_same(written: &Value, held: &Value, at: &str) {
    match (written, held) {
        (Value::Object(written), Value::Object(held)) => {
            for (key, value) in written.iter().filter(|(key, _)| !APART.contains(&key.as_str())) {
                let is_default = DEFAULTS.iter().any(|(name, default)| name == key && value == *default);
                match held.get(key) {
                    Some(held) => assert_same(value, held, &format!("{at}.{key}")),
                    None => assert!(is_default, "{at}: {key} is lost: {value}"),
                }
            }
        }
        (Value::Array(written), Value::Array(held)) => {
            assert_eq!(written.len(), held.len(), "{at}");
            let (mut written, mut held) = (written.clone(), held.clone());
            if !at.ends_with("preprocessing") && !at.ends_with("parameters") {
                // The order of tags, macros and the like is the server's.
                let order = |value: &Value| value.to_string();
                written.sort_by_key(order);
                held.sort_by_key(order);
            }
            for (nth, (written, held)) in written.iter().zip(&held).enumerate() {
                assert_same(written, held, &format!("{at}[{nth}]"));
            }
        }
        (written, held) => assert_eq!(written, held, "{at}"),
    }
}

/// A host with the template, which is looked at every second.
fn link(stack: &Stack) -> String {
    let group = stack.call("hostgroup.create", &json!({"name": "closewatch"}))["groupids"][0].clone();
    let host = stack.call(
        "host.create",
        &json!({
            "host": "test",
            "groups": [{"groupid": group}],
            "templates": [{"templateid": template_id(stack)}],
            "interfaces": [{"type": 1, "main": 1, "useip": 1, "ip": "127.0.0.1", "dns": "", "port": "10050"}],
            "macros": [{"macro": "{$CLOSEWATCH.INTERVAL}", "value": "1s"}],
        }),
    );
    host["hostids"][0].as_str().expect("a host").to_owned()
}

fn items(stack: &Stack, host: &str) -> Vec<Value> {
    let output = json!(["itemid", "key_", "state", "error", "lastclock", "lastvalue"]);
    stack.call("item.get", &json!({"hostids": host, "output": output})).as_array().expect("items").clone()
}

/// The items by key and identity that were discovered.
fn discovered(stack: &Stack, host: &str) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let all = items(stack, host).into_iter().map(|item| (text(&item["key_"]), text(&item["itemid"])));
    all.filter(|(key, _)| key.starts_with("closewatch.process.")).collect()
}

/// The names of the problems that are there.
fn problems(stack: &Stack, host: &str) -> Vec<String> {
    let found = stack.call("problem.get", &json!({"hostids": host, "output": ["name"]}));
    found.as_array().expect("problems").iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

fn assert_all_are_supported(stack: &Stack, host: &str) {
    let odd: Vec<Value> = items(stack, host).into_iter().filter(|item| item["state"] != "0").collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

#[test]
fn the_template_does_on_a_server_what_it_says() {
    let test = "server::the_template_does_on_a_server_what_it_says";
    if let Some(why) = missing() {
        return skip(test, &why);
    }
    in_netns(test, || {
        let stack = Stack::start();
        let source = crate::integrate(&["zabbix-template"]);
        for _ in 0..2 {
            // The second time it changes nothing.
            import(&stack, &source);
            assert_nothing_is_lost(&stack);
        }
        let (place, program) = public_place();
        let policy = place.path().join("policy.toml");
        fs::write(&policy, "").expect("written");
        let options = format!(" --netns current --stuck-after 1s --policy {}", policy.display());
        let config = configure(stack.dir(), &program, &options);
        // As root, so that it sees whose the sockets are: the capabilities of a file need a file system that takes them.
        fs::write(&config, fs::read_to_string(&config).expect("there") + "AllowRoot=1\nUser=root\n").expect("written");
        let mut agent = std::process::Command::new(AGENT);
        let _agent = Service::start(agent.arg("-f").arg("-c").arg(&config).stdout(Stdio::null()));
        let host = link(&stack);
        it_collects(&stack, &host);
        it_tells_of_a_leak(&stack, &host);
        it_tells_why_there_is_no_report(&stack, &host, &policy);
        assert!(!stack.log().contains("closewatch"), "the server found something odd: {}", stack.log());
    });
}

/// All items that have something to tell do.
fn it_collects(stack: &Stack, host: &str) {
    wait_for("values of all items", || {
        let silent: Vec<Value> = items(stack, host)
            .into_iter()
            .filter(|item| {
                item["lastclock"] == "0" && item["key_"] != "closewatch.eta" && item["key_"] != "closewatch.report"
            })
            .collect();
        silent.is_empty().then_some(())
    });
    assert_all_are_supported(stack, host);
    let listening = items(stack, host).into_iter().find(|item| item["key_"] == "closewatch.state[listen]");
    let listening = listening.expect("there")["lastvalue"].as_str().and_then(|value| value.parse::<u32>().ok());
    assert!(listening >= Some(4), "the database, the server, the frontend and the agent listen: {listening:?}");
}

fn it_tells_of_a_leak(stack: &Stack, host: &str) {
    let leak = Player::start("leak", |_| ());
    let first = wait_for("the problem", || problems(stack, host).pop());
    for word in [
        "leaks TCP sockets: ",
        &format!("[{}] holds {LEAKED} sockets to {DESTINATION}", leak.pid()),
        "the oldest for ",
        "; now: ",
    ] {
        assert!(first.contains(word), "{word:?}: {first}");
    }
    assert_eq!(problems(stack, host).len(), 1, "one leak is one problem: {:?}", problems(stack, host));
    assert_all_are_supported(stack, host);
    let before = discovered(stack, host);
    assert!(!before.is_empty());
    drop(leak);
    wait_for("the problem to be over", || problems(stack, host).is_empty().then_some(()));
    let again = Player::start("leak", |_| ());
    let second = wait_for("the problem after a restart", || problems(stack, host).pop());
    assert!(second.contains(&format!("[{}] holds", again.pid())), "{second}");
    assert_eq!(discovered(stack, host), before, "the items of a program stay when it is started again");
    drop(again);
    wait_for("the problem to be over again", || problems(stack, host).is_empty().then_some(()));
}

fn it_tells_why_there_is_no_report(stack: &Stack, host: &str, policy: &std::path::Path) {
    fs::write(policy, "[stuk]\n").expect("written");
    let told = wait_for("the problem", || problems(stack, host).pop());
    assert!(told.contains("There is no report: ") && told.contains("there is no threshold `stuk`"), "{told}");
    fs::write(policy, "").expect("written");
    wait_for("the problem to be over", || problems(stack, host).is_empty().then_some(()));
    assert_all_are_supported(stack, host);
}
