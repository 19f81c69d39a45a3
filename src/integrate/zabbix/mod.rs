//! Configuration of Zabbix: a key of the agent, and a template of the server.
//!
//! The agent has one key without parameters, so that no text of a user ever reaches a shell. The server takes every number from
//! the one document that it returns, by JSONPath. Objects of the template and their identities never change by themselves
//! ([`uuid`]); their thresholds are those of `closewatch check`.

mod agent;
mod discovery;
mod items;
mod macros;
mod triggers;
mod uuid;
mod views;
mod yaml;

use self::uuid::uuid;
use self::yaml::Node;

pub(super) use self::agent::agent;

/// The key of the agent: the report.
const MASTER: &str = "closewatch.report";

/// Which version of the format of templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// 6.0, which later versions import too.
    Six,
    /// 7.0, which has timeouts of items and names a vendor.
    Seven,
}

/// The group that official templates of applications are in, and its identity in every installation.
const GROUP: (&str, &str) = ("Templates/Applications", "a571c0d144b14fd4a87a9d9b2aa9fcd6");

impl Edition {
    /// The name of the template.
    fn template(self) -> &'static str {
        "Closewatch by Zabbix agent"
    }

    /// An item's name as templates of this version write it: until 6.0 with what it belongs to.
    fn item_name(self, name: &str) -> String {
        match self {
            Self::Six => format!("Closewatch: {name}"),
            Self::Seven => name.to_owned(),
        }
    }
}

/// The template, to be imported.
pub(super) fn template(edition: Edition) -> String {
    let groups = vec![Node::map([("uuid", GROUP.1.into()), ("name", GROUP.0.into())])];
    let (version, groups_key) = match edition {
        Edition::Six => ("6.0", "groups"),
        Edition::Seven => ("7.0", "template_groups"),
    };
    let triggers: Vec<Node> = triggers::of_host(edition).iter().map(|trigger| trigger.node("trigger")).collect();
    let export = Node::map([
        ("version", version.into()),
        (groups_key, groups.into()),
        ("templates", vec![body(edition)].into()),
        ("triggers", triggers.into()),
        ("graphs", views::graphs(edition)),
    ]);
    Node::map([("zabbix_export", export)]).document()
}

fn body(edition: Edition) -> Node {
    let name = edition.template();
    let vendor = Node::map([("name", "closewatch".into()), ("version", "7.0-0".into())]);
    Node::map([
        ("uuid", uuid("template", name).into()),
        ("template", name.into()),
        ("name", name.into()),
        (
            "description",
            "Who leaks TCP sockets on a host, how many ports are left to each destination, and what to do. It needs closewatch on \
             the host and the key that `closewatch integrate zabbix-agent` prints."
                .into(),
        ),
        ("vendor", if edition == Edition::Seven { vendor } else { Node::none() }),
        ("groups", vec![Node::map([("name", GROUP.0.into())])].into()),
        ("items", items::items(edition)),
        ("discovery_rules", discovery::rules(edition)),
        ("tags", discovery::template_tags()),
        ("macros", macros::macros()),
        ("dashboards", views::dashboards(edition)),
        ("valuemaps", views::value_maps()),
    ])
}
