//! A host at the server that has the template: its items, its macros and its problems.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::import::template_id;
use crate::stack::{Stack, wait_for};

/// How bad a problem is, as the server numbers it.
pub(crate) const INFO: &str = "1";
pub(crate) const WARNING: &str = "2";
pub(crate) const AVERAGE: &str = "3";
pub(crate) const HIGH: &str = "4";

/// A host, which is looked at every second.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    id: String,
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn rows(value: &Value) -> Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).clone()
}

impl Host {
    /// A host of this name whose agent listens on this port, with the template and these macros.
    pub(crate) fn link(stack: &Stack, (name, port): (&str, u16), macros: &[(&str, &str)]) -> Self {
        let group = stack.call("hostgroup.create", &json!({"name": name}))["groupids"][0].clone();
        let row = |(name, value): &(&str, &str)| json!({"macro": format!("{{$CLOSEWATCH.{name}}}"), "value": value});
        let asked = json!({
            "host": name,
            "groups": [{"groupid": group}],
            "templates": [{"templateid": template_id(stack)}],
            "interfaces":
                [{"type": 1, "main": 1, "useip": 1, "ip": "127.0.0.1", "dns": "", "port": port.to_string()}],
            "macros": macros.iter().chain([&("INTERVAL", "1s")]).map(row).collect::<Vec<_>>(),
        });
        Self { id: string(&stack.call("host.create", &asked)["hostids"][0]) }
    }

    /// Sets a macro of its own.
    pub(crate) fn set(&self, stack: &Stack, name: &str, value: &str) {
        let name = format!("{{$CLOSEWATCH.{name}}}");
        stack.call("usermacro.create", &json!({"hostid": self.id, "macro": name, "value": value}));
    }

    /// Takes a macro of its own away: that of the template holds again.
    pub(crate) fn unset(&self, stack: &Stack, name: &str) {
        let asked = json!({"hostids": self.id, "filter": {"macro": format!("{{$CLOSEWATCH.{name}}}")}});
        let found = stack.call("usermacro.get", &asked);
        stack.call("usermacro.delete", &json!([found[0]["hostmacroid"]]));
    }

    /// Its items, by key.
    pub(crate) fn items(&self, stack: &Stack) -> BTreeMap<String, Value> {
        let output = json!(["itemid", "key_", "state", "error", "lastclock", "lastvalue"]);
        let found = stack.call("item.get", &json!({"hostids": self.id, "output": output}));
        rows(&found).into_iter().map(|item| (string(&item["key_"]), item)).collect()
    }

    /// The identities of the items that were discovered of this kind (`process`, `pool`), by key.
    pub(crate) fn discovered(&self, stack: &Stack, thing: &str) -> BTreeMap<String, String> {
        let prefix = format!("closewatch.{thing}.");
        let all = self.items(stack).into_iter().filter(|(key, _)| key.starts_with(&prefix));
        all.map(|(key, item)| (key, string(&item["itemid"]))).collect()
    }

    /// The names of what was discovered of this kind.
    pub(crate) fn names(&self, stack: &Stack, thing: &str) -> BTreeSet<String> {
        let inner =
            |key: &String| key.split_once("[\"").and_then(|(_, rest)| rest.strip_suffix("\"]")).map(str::to_owned);
        self.discovered(stack, thing).keys().filter_map(inner).collect()
    }

    /// The last value of an item.
    pub(crate) fn value(&self, stack: &Stack, key: &str) -> String {
        let items = self.items(stack);
        string(
            &items.get(&format!("closewatch.{key}")).unwrap_or_else(|| panic!("no {key}: {:?}", items.keys()))["lastvalue"],
        )
    }

    /// Waits until every item has a value, but for these, and asserts that all of them and the discoveries are supported.
    pub(crate) fn collects(&self, stack: &Stack, unknown: &[&str]) {
        wait_for("values of all items", || {
            let items = self.items(stack);
            let silent = |(key, item): &(&String, &Value)| item["lastclock"] == "0" && !unknown.contains(&key.as_str());
            // What was discovered a moment ago has to be looked at first.
            items.iter().find(silent).is_none().then_some(())
        });
        let rules = stack.call("discoveryrule.get", &json!({"hostids": self.id, "output": ["key_", "state", "error"]}));
        let all = self.items(stack).into_values().chain(rows(&rules));
        let odd: Vec<Value> = all.filter(|item| item["state"] != "0").collect();
        assert!(odd.is_empty(), "{odd:#?}");
    }

    /// Waits for so many further looks.
    pub(crate) fn looks(&self, stack: &Stack, n: usize) {
        for _ in 0..n {
            let before = self.items(stack)["closewatch.taken_at"]["lastclock"].clone();
            wait_for("a look", || (self.items(stack)["closewatch.taken_at"]["lastclock"] != before).then_some(()));
        }
    }

    /// The problems that are there: how bad, and the name.
    pub(crate) fn problems(&self, stack: &Stack) -> Vec<(String, String)> {
        let found = stack.call("problem.get", &json!({"hostids": self.id, "output": ["name", "severity"]}));
        rows(&found).iter().map(|row| (string(&row["severity"]), string(&row["name"]))).collect()
    }

    /// Waits until there are these problems and no other, each with its severity and these parts in its name, and asserts that
    /// it stays so.
    pub(crate) fn has(&self, stack: &Stack, expected: &[(&str, &[&str])]) {
        let are_those = |problems: &[(String, String)]| {
            let is = |(severity, parts): &(&str, &[&str]), problem: &(String, String)| {
                problem.0 == *severity && parts.iter().all(|part| problem.1.contains(part))
            };
            problems.len() == expected.len()
                && expected.iter().all(|wanted| problems.iter().any(|problem| is(wanted, problem)))
        };
        let mut last = self.problems(stack);
        let start = std::time::Instant::now();
        while !are_those(&last) {
            let waited = start.elapsed().as_secs();
            assert!(waited < 240, "waited 240 s for {expected:#?}: there is {last:#?}\n{}", stack.log());
            std::thread::sleep(std::time::Duration::from_millis(400));
            last = self.problems(stack);
        }
    }

    /// The same, and it stays so for some looks.
    pub(crate) fn keeps(&self, stack: &Stack, expected: &[(&str, &[&str])]) {
        self.has(stack, expected);
        self.looks(stack, 4);
        let before = self.problems(stack);
        self.has(stack, expected);
        assert_eq!(before, self.problems(stack), "no problem comes and goes");
    }
}
