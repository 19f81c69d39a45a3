//! The template at a real server: imported, and every object of it compared with what the server holds afterwards.

use serde_json::{Value, json};

use crate::release::Release;
use crate::stack::Stack;
use crate::template::{objects, template};

/// The name of the template.
const TEMPLATE: &str = "Closewatch by Zabbix agent";

/// Imports what `closewatch integrate zabbix-template` prints with these options, twice: the second time changes nothing. What the
/// server holds then is what the file has.
pub(crate) fn import(stack: &Stack, options: &[&str]) {
    let both = json!({"createMissing": true, "updateExisting": true});
    let all = json!({"createMissing": true, "updateExisting": true, "deleteMissing": true});
    let mut rules = json!({
        "templates": both, "templateLinkage": {"createMissing": true, "deleteMissing": true}, "templateDashboards": all,
        "items": all, "discoveryRules": all, "triggers": all, "graphs": all, "httptests": all, "valueMaps": all,
    });
    let groups: &[&str] = match stack.release() {
        Release::Six => &["groups"],
        Release::Seven => &["template_groups", "host_groups"],
    };
    groups.iter().for_each(|kind| rules[*kind] = both.clone());
    let source = crate::integrate(&[&["zabbix-template"], options].concat());
    for _ in 0..2 {
        let done = stack.call("configuration.import", &json!({"format": "yaml", "source": source, "rules": rules}));
        assert_eq!(done, json!(true));
        assert_nothing_is_lost(stack, options);
    }
}

/// Removes the template with all that it has.
pub(crate) fn remove(stack: &Stack) {
    stack.call("template.delete", &json!([template_id(stack)]));
}

/// The template on the server.
pub(crate) fn template_id(stack: &Stack) -> String {
    let found = stack.call("template.get", &json!({"filter": {"host": [TEMPLATE]}}));
    found[0]["templateid"].as_str().expect("it is there").to_owned()
}

/// Every object of the file is on the server, with every field, but for those that an export leaves out because they are as by
/// default; and the server has no other.
fn assert_nothing_is_lost(stack: &Stack, options: &[&str]) {
    let asked = json!({"format": "json", "options": {"templates": [template_id(stack)]}});
    let exported = stack.call("configuration.export", &asked);
    let exported: Value = serde_json::from_str(exported.as_str().expect("a text")).expect("JSON");
    assert_eq!(exported["zabbix_export"]["version"], stack.release().version());
    let (written, held) = (objects(&template(options)), objects(&exported));
    assert_eq!(written.keys().collect::<Vec<_>>(), held.keys().collect::<Vec<_>>());
    let is_converted = exported["zabbix_export"]["version"] != template(options)["zabbix_export"]["version"];
    let comparison = Comparison { release: stack.release(), is_converted };
    for (identity, object) in &written {
        comparison.assert_same(object, &held[identity], &format!("{identity:?} {}", object["name"]));
    }
}

/// What an export leaves out because it is as by default, of both releases.
const DEFAULTS: [(&str, &str); 5] = [
    ("type", "ZABBIX_PASSIVE"),
    ("trends", "365d"),
    ("value_type", "UNSIGNED"),
    ("error_handler_params", ""),
    ("delay", "1m"),
];

/// Lists of objects with identities of their own: they are compared by identity, wherever the server puts them.
const APART: [&str; 8] = [
    "items",
    "item_prototypes",
    "discovery_rules",
    "triggers",
    "trigger_prototypes",
    "graph_prototypes",
    "dashboards",
    "valuemaps",
];

/// Compares what is written with what a release holds.
struct Comparison {
    release: Release,
    /// Whether the file is of the format of an earlier release, which the server makes its own of.
    is_converted: bool,
}

impl Comparison {
    fn is_default(&self, key: &str, value: &Value) -> bool {
        let lifetime = if self.release == Release::Six { "30d" } else { "7d" };
        DEFAULTS.iter().chain([&("lifetime", lifetime)]).any(|(name, default)| *name == key && value == *default)
    }

    fn assert_same(&self, written: &Value, held: &Value, at: &str) {
        match (written, held) {
            (Value::Object(written), Value::Object(held)) => {
                for (key, value) in written.iter().filter(|(key, _)| !APART.contains(&key.as_str())) {
                    match held.get(key) {
                        Some(held) if key == "widgets" => self.assert_widgets(value, held, at),
                        Some(held) => self.assert_same(value, held, &format!("{at}.{key}")),
                        None => assert!(self.is_default(key, value), "{at}: {key} is lost: {value}"),
                    }
                }
            }
            (Value::Array(written), Value::Array(held)) => {
                assert_eq!(written.len(), held.len(), "{at}: {written:#?} {held:#?}");
                let (mut written, mut held) = (written.clone(), held.clone());
                if !at.ends_with("preprocessing") && !at.ends_with("parameters") {
                    // The order of tags, macros and the like is the server's.
                    let order = |value: &Value| value.to_string();
                    written.sort_by_key(order);
                    held.sort_by_key(order);
                }
                for (nth, (written, held)) in written.iter().zip(&held).enumerate() {
                    self.assert_same(written, held, &format!("{at}[{nth}]"));
                }
            }
            // 7.0 asks which errors a step is about, and means any of them by -1.
            (Value::String(_), Value::String(held)) if self.is_converted && held == "-1" => {
                assert!(at.ends_with("preprocessing[0].parameters[0]") && *written == "", "{at}: {written}");
            }
            (written, held) => assert_eq!(written, held, "{at}"),
        }
    }

    /// Widgets have no identity but their place. 7.0 has three columns for one of 6.0, and names the kinds in small letters.
    fn assert_widgets(&self, written: &Value, held: &Value, at: &str) {
        let sorted = |widgets: &Value, columns: u64| {
            let number =
                |widget: &Value, key: &str| widget[key].as_str().unwrap_or("0").parse::<u64>().expect("a number");
            let widget = |widget: &Value| {
                let [x, y, width, height] = ["x", "y", "width", "height"].map(|key| number(widget, key));
                ([y, x * columns, width * columns, height], widget.clone())
            };
            let mut all: Vec<_> = widgets.as_array().expect("widgets").iter().map(widget).collect();
            all.sort_by_key(|(place, _)| *place);
            all
        };
        let (written, held) = (sorted(written, if self.is_converted { 3 } else { 1 }), sorted(held, 1));
        assert_eq!(written.len(), held.len(), "{at}");
        for ((place, written), (held_place, held)) in written.iter().zip(&held) {
            assert_eq!(place, held_place, "{at}: {written}");
            let kind = match written["type"].as_str() {
                Some("GRAPH_CLASSIC") if self.is_converted => "graph",
                Some("GRAPH_PROTOTYPE") if self.is_converted => "graphprototype",
                other => other.expect("a kind"),
            };
            assert_eq!(kind, held["type"], "{at}: {written}");
            let (fields, held) =
                (written["fields"].as_array().expect("fields"), held["fields"].as_array().expect("fields"));
            let lost: Vec<&Value> = fields.iter().filter(|field| !held.contains(field)).collect();
            assert!(lost.is_empty(), "{at}: {lost:?} of {held:?}");
            assert!(self.is_converted || fields.len() == held.len(), "{at}: {fields:?} {held:?}");
        }
    }
}
