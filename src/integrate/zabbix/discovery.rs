//! What is found on the host: processes that hold what can run out, port pools, listeners, network namespaces.
//!
//! Names come from the report and stay when a program is started again. What is gone from the report has 0: an item that kept its
//! last value would keep its problem. The number of one thing is taken in steps, so that it is not taken for gone when there is no
//! report, or when the report has no lists.

use super::items::{Item, Kind, OnError, Step, tag};
use super::macros::filter;
use super::triggers::{Trigger, of_listener, of_pool, of_process};
use super::uuid::uuid;
use super::yaml::Node;
use super::{Edition, MASTER};

/// A list of the report that is discovered.
struct Rule {
    /// The word for one of it.
    thing: &'static str,
    /// The word for it in names.
    name: &'static str,
    /// Its key in the report.
    list: &'static str,
    /// Which of it are worth items of their own: a filter of JSONPath; empty for all.
    worth: &'static str,
    /// For how long what is no longer found keeps its items.
    lifetime: &'static str,
    /// What is found.
    description: &'static str,
    /// Its numbers: the key in the row and what it is called.
    columns: &'static [(&'static str, &'static str, &'static str, Kind)],
    triggers: fn(Edition) -> Vec<Trigger>,
    /// The numbers that are drawn together.
    graph: &'static [(&'static str, &'static str)],
}

#[rustfmt::skip]
const RULES: [Rule; 4] = [
    Rule {
        thing: "process", name: "Processes", list: "processes", worth: "[?(@.notable==1)]", lifetime: "30d",
        description: "Programs that hold stuck sockets, ghosts or many descriptors, by unit or executable.",
        columns: &[
            ("stuck", "stuck", "Stuck CLOSE-WAIT sockets", Kind::Count),
            ("close_wait", "close_wait", "CLOSE-WAIT sockets", Kind::Count),
            ("sockets", "sockets", "TCP sockets", Kind::Count),
            ("oldest", "oldest_s", "Age of the oldest CLOSE-WAIT", Kind::Seconds),
            ("ports", "ports_ratio", "Used share of its fullest port pool", Kind::Share),
            ("fds", "fds_ratio", "Used share of its descriptors", Kind::Share),
            ("ghosts", "ghosts", "Ghosts", Kind::Count),
            ("story", "story", "What it leaks", Kind::Words),
        ],
        triggers: of_process,
        graph: &[("close_wait", "F63100"), ("stuck", "A54F10")],
    },
    Rule {
        thing: "pool", name: "Port pools", list: "pools", worth: "[?(@.ratio>=0.1)]", lifetime: "7d",
        description: "Ports from an address of this host to a destination, from a tenth used on.",
        columns: &[
            ("ratio", "ratio", "Used share of the ports", Kind::Share),
            ("used", "used", "Used ports", Kind::Count),
            ("remaining", "remaining_at_least", "Ports that are surely left", Kind::Count),
            ("close_wait", "close_wait_ratio", "Share of CLOSE-WAIT in what is used", Kind::Share),
        ],
        triggers: of_pool,
        graph: &[("used", "2774A4"), ("remaining", "1A7C11")],
    },
    Rule {
        thing: "listener", name: "Listeners", list: "listeners", worth: "[?(@.notable==1)]", lifetime: "7d",
        description: "Listeners at which connections wait.",
        columns: &[
            ("ratio", "ratio", "Used share of the accept queue", Kind::Share),
            ("waiting", "waiting", "Connections that wait", Kind::Count),
        ],
        triggers: of_listener,
        graph: &[("waiting", "2774A4")],
    },
    Rule {
        thing: "netns", name: "Network namespaces", list: "namespaces", worth: "", lifetime: "7d",
        description: "Network namespaces with a name that stays: the host's, those of `ip netns`, pods, containers, services.",
        columns: &[
            ("sockets", "sockets", "TCP sockets", Kind::Count),
            ("close_wait", "close_wait", "CLOSE-WAIT sockets", Kind::Count),
            ("ports", "ports_ratio", "Used share of its fullest port pool", Kind::Share),
        ],
        triggers: |_| Vec::new(),
        graph: &[("sockets", "2774A4"), ("close_wait", "F63100")],
    },
];

/// All rules.
pub(super) fn rules(edition: Edition) -> Node {
    RULES.iter().map(|rule| rule.node(edition)).collect::<Vec<_>>().into()
}

/// The steps from the report to a list of it.
fn steps_to(list: &str) -> Vec<Step> {
    vec![Step::json_path(format!("$.{list}"), OnError::Discard), Step::unless_null()]
}

impl Rule {
    fn node(&self, edition: Edition) -> Node {
        let key = format!("closewatch.{}.discovery", self.thing);
        let condition = |macro_name: String, operator: Node, id: &str| {
            Node::map([
                ("macro", "{#NAME}".into()),
                ("value", macro_name.into()),
                ("operator", operator),
                ("formulaid", id.into()),
            ])
        };
        let conditions = vec![
            condition(filter(self.thing, "MATCHES"), Node::none(), "A"),
            condition(filter(self.thing, "NOT_MATCHES"), "NOT_MATCHES_REGEX".into(), "B"),
        ];
        let mut steps = steps_to(self.list);
        if !self.worth.is_empty() {
            steps.push(Step::json_path(format!("${}", self.worth), OnError::Value("[]")));
        }
        // 7.0 would disable them at once, before they have the values that end their problems.
        let kept = if edition == Edition::Seven { "DISABLE_NEVER".into() } else { Node::none() };
        let path = Node::map([("lld_macro", "{#NAME}".into()), ("path", "$.name".into())]);
        let triggers = (self.triggers)(edition);
        Node::map([
            ("uuid", uuid("discovery", &key).into()),
            ("name", edition.item_name(self.name).into()),
            ("type", "DEPENDENT".into()),
            ("key", key.into()),
            ("delay", "0".into()),
            ("filter", Node::map([("evaltype", "AND".into()), ("conditions", conditions.into())])),
            ("lifetime", self.lifetime.into()),
            ("enabled_lifetime_type", kept),
            ("description", self.description.into()),
            ("item_prototypes", self.items().map(|item| item.node("prototype", edition)).collect::<Vec<_>>().into()),
            ("trigger_prototypes", triggers.iter().map(|trigger| trigger.node("prototype")).collect::<Vec<_>>().into()),
            ("graph_prototypes", vec![self.graph(edition)].into()),
            ("master_item", Node::map([("key", MASTER.into())])),
            ("lld_macro_paths", vec![path].into()),
            ("preprocessing", steps.iter().map(Step::node).collect::<Vec<_>>().into()),
        ])
    }

    fn items(&self) -> impl Iterator<Item = Item> + '_ {
        self.columns.iter().map(|(key, field, name, kind)| {
            let gone = if *kind == Kind::Words { "" } else { "0" };
            let row = format!("$[?(@.name==\"{{#NAME}}\")].{field}.first()");
            let mut steps = steps_to(self.list);
            steps.push(Step::json_path(row, OnError::Value(gone)));
            steps.push(Step::unless_null());
            Item {
                key: format!("closewatch.{}.{key}[\"{{#NAME}}\"]", self.thing),
                name: format!("{{#NAME}}: {name}"),
                kind: *kind,
                description: self.description,
                steps,
                component: if self.thing == "process" { "application" } else { "network" },
                about: Some((self.thing, "{#NAME}".to_owned())),
            }
        })
    }

    fn graph(&self, edition: Edition) -> Node {
        let name = self.graph_name(edition);
        let item = |(place, (key, color)): (usize, &(&str, &str))| {
            let key = format!("closewatch.{}.{key}[\"{{#NAME}}\"]", self.thing);
            super::views::graph_item(edition, (place, color), &key)
        };
        let items: Vec<Node> = self.graph.iter().enumerate().map(item).collect();
        Node::map([
            ("uuid", uuid("graph prototype", self.thing).into()),
            ("name", name.into()),
            ("graph_items", items.into()),
        ])
    }

    fn graph_name(&self, edition: Edition) -> String {
        edition.item_name(&format!("{{#NAME}} ({})", self.name.to_lowercase()))
    }
}

/// The name of the graph that is drawn of every process.
pub(super) fn process_graph(edition: Edition) -> String {
    RULES[0].graph_name(edition)
}

/// The tag that tells what a template is about.
pub(super) fn template_tags() -> Node {
    vec![tag("class", "network"), tag("target", "closewatch")].into()
}
