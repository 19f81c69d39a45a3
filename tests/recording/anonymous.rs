//! Recordings for strangers: nothing in them names anything, and they say the same.

use closewatch::capture::anonymize::{Key, anonymize};
use closewatch::capture::recording::frame::Reader;
use closewatch::capture::recording::{decode, encode};
use closewatch::model::process::Placement;
use closewatch::model::snapshot::{Cgroup, Names, Snapshot};
use closewatch::model::socket::CgroupId;
use closewatch::render::Format;
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::{Value, json};

use crate::{arbitrary, report_on, sample};

fn anonymized(snapshot: &Snapshot, key: [u8; 16]) -> Snapshot {
    let mut snapshot = snapshot.clone();
    anonymize(&mut snapshot, &Key::new(key));
    snapshot
}

/// All that the file holds, as text.
fn text_of(bytes: &[u8]) -> String {
    let mut reader = Reader::open(bytes).expect("a recording");
    let mut text = String::new();
    while let Some(section) = reader.next_section().expect("small") {
        let payload = section.expect("whole").payload().expect("whole");
        text.push_str(std::str::from_utf8(&payload).expect("JSON"));
    }
    text
}

fn json_of(snapshot: &Snapshot) -> Value {
    serde_json::from_str(&report_on(snapshot, Format::Json).0).expect("JSON")
}

/// Everything but the words.
fn without_words(value: &Value) -> Value {
    match value {
        Value::String(_) => json!("word"),
        Value::Array(items) => items.iter().map(without_words).collect(),
        Value::Object(fields) => {
            // The words of the program itself.
            let own = ["kind", "rule", "severity", "confidence", "when", "taken_at", "started_at", "verdict"];
            let field = |(name, value): (&String, &Value)| {
                let value = match name.as_str() {
                    "uid" => json!("word"),
                    name if own.contains(&name) => value.clone(),
                    _ => without_words(value),
                };
                (name.clone(), value)
            };
            fields.iter().map(field).collect::<serde_json::Map<_, _>>().into()
        }
        number => number.clone(),
    }
}

#[test]
fn no_name_and_no_address_is_left() {
    let mut host = sample::leaking_host(200);
    let placement = Placement { unit: Some("payroll.service".to_owned()), ..Placement::default() };
    host.cgroups = vec![Cgroup { id: CgroupId::new(4242).expect("not 0"), placement }];
    let secrets = [
        "payroll",
        "web-1",
        "telegraf",
        "sidecar",
        "metrics",
        "blue",
        "10.0.0.5",
        "10.0.3.7",
        "0a1b2c3d4e5f",
        "6f0c1a52",
        "corp",
    ];
    let before = text_of(&encode(&host, Names::Real).expect("small"));
    let after = text_of(&encode(&anonymized(&host, [9; 16]), Names::Invented).expect("small"));
    for secret in secrets {
        assert!(before.contains(secret), "{secret} was there");
        assert!(!after.contains(secret), "{secret} is left in {after}");
    }
    assert!(after.contains("\"invented\"") && after.contains(".service") && after.contains("\"init\""));
}

#[test]
fn the_report_says_the_same_of_other_names() {
    let host = sample::leaking_host(2_200);
    let stranger = anonymized(&host, [1; 16]);
    let (before, after) = (json_of(&host), json_of(&stranger));
    assert_eq!(before["verdict"], json!("critical"));
    for (part, value) in before.as_object().expect("an object") {
        assert_eq!(without_words(value), without_words(&after[part]), "{part}");
    }
    let [gap] = stranger.gaps.as_slice() else { panic!("{:#?}", stranger.gaps) };
    let names = [&stranger.processes[0].name, &stranger.namespaces[1].id.name];
    let host_name = stranger.host.name.as_deref().expect("a name");
    let peer = stranger.sockets[0].tuple.remote;
    assert_eq!(gap.what, format!("descriptors of 1 process ({}, in {} on {host_name}, to {peer})", names[0], names[1]));
    assert_eq!(gap.why, host.gaps[0].why);
}

#[test]
fn equal_names_stay_equal_and_what_a_name_says_of_its_kind_stays() {
    let mut host = sample::leaking_host(3);
    let mut placement = host.processes[0].placement.clone().expect("placed");
    placement.unit = Some("user@1001.service".to_owned());
    host.processes[1].placement = Some(placement);
    host.processes[1].exe = Some("/opt/telegraf (deleted)".into());
    host.processes[1].user = Some("root".to_owned());
    host.processes[1].uid = Some(0);
    let stranger = anonymized(&host, [2; 16]);
    let [first, second] = stranger.processes.as_slice() else { panic!("two processes") };
    let name = &first.name;
    assert!(name.starts_with("proc-") && name.len() == 15, "{name}");
    assert_eq!(first.exe.as_deref(), Some(format!("/{name}").as_ref()));
    assert_eq!(second.exe.as_deref(), Some(format!("/{name} (deleted)").as_ref()));
    let unit = |nth: usize| stranger.processes[nth].placement.clone().and_then(|placement| placement.unit);
    assert_eq!(unit(0), Some(format!("unit-{}.service", &name[5..])));
    let uid = first.uid.expect("known");
    assert_ne!(uid, 1001);
    assert_eq!((stranger.sockets[0].uid, unit(1)), (Some(uid), Some(format!("user@{uid}.service"))));
    assert_eq!((second.user.as_deref(), second.uid), (Some("root"), Some(0)));
    assert_eq!(anonymized(&host, [2; 16]), stranger);
    assert_ne!(anonymized(&host, [3; 16]).processes[0].name, *name);
}

#[test]
fn a_container_keeps_the_look_of_its_id() {
    let host = sample::leaking_host(1);
    let id = |snapshot: &Snapshot| snapshot.processes[1].placement.clone().and_then(|placement| placement.container);
    let (before, after) = (id(&host).expect("one"), id(&anonymized(&host, [5; 16])).expect("one"));
    assert_eq!(before.len(), after.len());
    assert!(before != after && after.bytes().all(|byte| byte.is_ascii_hexdigit()), "{after}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Also of hosts that cannot be: rules and numbers depend on no name.
    #[test]
    fn findings_do_not_depend_on_names(snapshot in arbitrary::snapshot(), key in any::<[u8; 16]>()) {
        let findings = |snapshot: &Snapshot| {
            let report = json_of(snapshot);
            let findings = report["findings"].as_array().expect("a list");
            let mut found: Vec<String> = findings
                .iter()
                .map(|finding| {
                    let keys = ["rule", "severity", "confidence", "evidence"];
                    keys.map(|key| without_words(&json!({key: finding[key]})).to_string()).concat()
                })
                .collect();
            found.sort_unstable();
            (found, report["verdict"].clone(), report["totals"].clone(), report["coverage"]["attributed"].clone())
        };
        let stranger = anonymized(&snapshot, key);
        assert_eq!(findings(&snapshot), findings(&stranger));
        let read = decode(&encode(&stranger, Names::Invented).expect("small")).expect("whole");
        assert_eq!(read.names(), Names::Invented);
    }
}
