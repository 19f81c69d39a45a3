//! The template by itself: identities, references, and what sets the two editions apart.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::plain_yaml;
use crate::support::closewatch;
use crate::support::saved::{LISTENER, check_saved, leaked_by};

/// The template of an edition.
pub(crate) fn template(options: &[&str]) -> Value {
    plain_yaml::read(&crate::integrate(&[&["zabbix-template"], options].concat()))
}

/// Every object with an identity, by kind and identity.
pub(crate) fn objects(tree: &Value) -> BTreeMap<(&'static str, String), Value> {
    fn walk(value: &Value, at: &str, found: &mut BTreeMap<(&'static str, String), Value>) {
        match value {
            Value::Array(list) => list.iter().for_each(|value| walk(value, at, found)),
            Value::Object(map) => {
                if let Some(Value::String(uuid)) = map.get("uuid") {
                    let again = found.insert((kind(at), uuid.clone()), value.clone());
                    assert!(again.is_none(), "{uuid} comes twice among {at}");
                }
                map.iter().for_each(|(key, value)| walk(value, key, found));
            }
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    walk(tree, "", &mut found);
    found
}

/// Item prototypes and items share the table of items, and so do triggers and graphs with their prototypes.
fn kind(list: &str) -> &'static str {
    match list {
        "items" | "item_prototypes" | "discovery_rules" => "item",
        "triggers" | "trigger_prototypes" => "trigger",
        "graphs" | "graph_prototypes" => "graph",
        "groups" | "template_groups" => "group",
        "templates" => "template",
        "dashboards" => "dashboard",
        "valuemaps" => "value map",
        other => panic!("{other} has identities"),
    }
}

fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(list) => list.iter().for_each(|value| texts(value, found)),
        Value::Object(map) => map.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[test]
fn identities_are_uuids_of_version_4_and_the_same_in_both_editions() {
    let (six, seven) = (objects(&template(&[])), objects(&template(&["--zabbix", "7.0"])));
    assert!(six.len() > 70, "{}", six.len());
    for (_, uuid) in six.keys() {
        assert!(uuid.len() == 32 && uuid.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)), "{uuid}");
        assert!(uuid.as_bytes()[12] == b'4' && b"89ab".contains(&uuid.as_bytes()[16]), "{uuid}");
    }
    assert_eq!(six.keys().collect::<Vec<_>>(), seven.keys().collect::<Vec<_>>());
}

#[test]
fn identities_never_change() {
    // An import updates what it knows by identity and makes the rest anew: these are in installations.
    let all = objects(&template(&[]));
    let listed: String = all
        .iter()
        .map(|((kind, uuid), object)| {
            let name = ["key", "name", "template"].iter().find_map(|field| object[*field].as_str()).unwrap_or_default();
            format!("{uuid} {kind} {name}\n")
        })
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/zabbix/identities.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().expect("a folder")).expect("made");
        std::fs::write(path, &listed).expect("written");
    }
    let kept = std::fs::read_to_string(path).expect("the identities are kept");
    let now: BTreeSet<&str> = listed.lines().collect();
    let gone: Vec<&str> = kept.lines().filter(|line| !now.contains(line)).collect();
    assert!(gone.is_empty(), "an import would make these anew, without their past: {gone:#?}");
    assert_eq!(kept, listed, "add what is new: UPDATE_GOLDEN=1 cargo test --test zabbix");
}

#[test]
fn what_is_referred_to_is_there() {
    for options in [&[][..], &["--zabbix", "7.0"]] {
        let tree = template(options);
        let all = objects(&tree);
        let keys: BTreeSet<&str> = all.values().filter_map(|object| object["key"].as_str()).collect();
        let graphs: BTreeSet<&str> = all
            .iter()
            .filter(|((kind, _), _)| *kind == "graph")
            .filter_map(|(_, graph)| graph["name"].as_str())
            .collect();
        let body = &tree["zabbix_export"]["templates"][0];
        let macros: BTreeSet<&str> =
            body["macros"].as_array().expect("macros").iter().filter_map(|row| row["macro"].as_str()).collect();
        let mut said = Vec::new();
        texts(&tree, &mut said);
        let mut used = BTreeSet::new();
        for text in said {
            // /Closewatch by Zabbix agent/KEY, up to `,` or `)` outside of its brackets.
            for part in text.split("(/Closewatch by Zabbix agent/").skip(1) {
                let inside = part.find('[').filter(|open| part.find([',', ')']).is_some_and(|end| *open < end));
                let end = inside
                    .map_or_else(|| part.find([',', ')']), |open| part[open..].find(']').map(|close| open + close + 1));
                let key = &part[..end.expect("an end")];
                assert!(keys.contains(key), "{key} is no item: {text}");
            }
            for part in text.split("{$").skip(1) {
                let name = part.split(['}', ':']).next().expect("a name");
                let name = format!("{{${name}}}");
                assert!(macros.contains(&*name), "{name} is no macro: {text}");
                used.insert(name);
            }
        }
        assert_eq!(used.len(), macros.len(), "a macro that nothing uses: {macros:?} {used:?}");
        for widget in body["dashboards"][0]["pages"][0]["widgets"].as_array().expect("widgets") {
            let shown =
                widget["fields"].as_array().expect("fields").iter().find_map(|field| field["value"]["name"].as_str());
            assert!(graphs.contains(shown.expect("a graph")), "{widget}");
        }
    }
}

#[test]
fn every_path_leads_into_the_document() {
    let output = check_saved(&format!("{LISTENER}{}", leaked_by("telegraf", 1234, 5_000)), "zabbix", &[]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for object in objects(&template(&[])).values().filter(|object| object["type"] == "DEPENDENT") {
        let steps = object["preprocessing"].as_array().expect("steps").iter();
        let paths: Vec<&str> =
            steps.filter(|step| step["type"] == "JSONPATH").filter_map(|step| step["parameters"][0].as_str()).collect();
        let first = paths[0].strip_prefix("$.").expect("a path").split('.').fold(&document, |at, key| &at[key]);
        // A saved text does not tell these.
        let is_untold =
            ["$.metrics.eta", "$.metrics.fds", "$.metrics.ghosts", "$.metrics.conntrack"].contains(&paths[0]);
        assert!(is_untold || !first.is_null(), "{paths:?} of {}", object["key"]);
        if let Some(field) = paths.get(1).and_then(|path| path.split(")].").nth(1)) {
            let field = field.strip_suffix(".first()").expect("one value");
            assert!(first[0].get(field).is_some(), "{paths:?}: {first:#}");
        }
    }
}

#[test]
fn thresholds_are_those_of_check() {
    let tree = template(&[]);
    let macros = tree["zabbix_export"]["templates"][0]["macros"].as_array().expect("macros");
    let value = |name: &str| {
        let row = macros.iter().find(|row| row["macro"] == format!("{{$CLOSEWATCH.{name}}}")).expect("a macro");
        row["value"].as_str().expect("a value").to_owned()
    };
    let page = closewatch().args(["explain", "policy"]).output().expect("closewatch starts");
    let page = crate::support::text(&page.stdout);
    let said = |metric: &str| {
        let lines = page.lines().skip_while(|line| !line.starts_with(&format!("{metric} "))).take(3);
        lines.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for metric in ["ports", "fds", "accept", "conntrack"] {
        let name = metric.to_uppercase();
        let levels = format!(
            "warning from {} %, critical from {} %",
            value(&format!("{name}.MAX.WARN")),
            value(&format!("{name}.MAX.CRIT"))
        );
        assert!(said(metric).contains(&levels), "{levels}: {}", said(metric));
    }
    assert_eq!((value("STUCK.MAX.WARN"), value("STUCK.MAX.CRIT")), ("10".to_owned(), "1000".to_owned()));
    assert!(said("stuck").contains("warning from 10, critical from 1,000"), "{}", said("stuck"));
    assert_eq!((value("ETA.MIN.WARN"), value("ETA.MIN.CRIT")), ("604800s".to_owned(), "86400s".to_owned()));
}

#[test]
fn the_editions_differ_as_documented() {
    let (six, seven) = (template(&[]), template(&["--zabbix", "7.0"]));
    let (six, seven) = (&six["zabbix_export"], &seven["zabbix_export"]);
    assert_eq!((&six["version"], &seven["version"]), (&"6.0".into(), &"7.0".into()));
    assert!(six["groups"].is_array() && six["template_groups"].is_null());
    assert!(seven["template_groups"].is_array() && seven["groups"].is_null() && seven["date"].is_null());
    let (six, seven) = (&six["templates"][0], &seven["templates"][0]);
    assert!(
        six["vendor"].is_null()
            && seven["vendor"]["version"].as_str().is_some_and(|version| version.starts_with("7.0-"))
    );
    assert!(six["items"][0]["timeout"].is_null());
    assert_eq!(seven["items"][0]["timeout"], "5s");
    assert_eq!((&six["items"][1]["name"], &seven["items"][1]["name"]), (&"Closewatch: Error".into(), &"Error".into()));
    let widget = |body: &Value| body["dashboards"][0]["pages"][0]["widgets"][0].clone();
    assert_eq!((&widget(six)["type"], &widget(seven)["type"]), (&"GRAPH_CLASSIC".into(), &"graph".into()));
}
