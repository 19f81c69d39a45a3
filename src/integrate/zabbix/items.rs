//! The numbers of the host, each taken from the one report that the agent is asked for.

use super::macros::INTERVAL;
use super::uuid::uuid;
use super::yaml::Node;
use super::{Edition, MASTER};
use crate::model::state::TcpState;

/// What a number is, which decides how it is kept and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A count.
    Count,
    /// A share, shown in percent.
    Share,
    /// A time in seconds.
    Seconds,
    /// A moment in seconds since 1970.
    Moment,
    /// True or false.
    Flag,
    /// The number of a verdict.
    Verdict,
    /// A short text, kept when it changes.
    Words,
    /// A short text, kept at every look: its silence tells something too.
    Pulse,
}

/// A number, and how to take it from the report.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its key.
    pub(super) key: String,
    /// What it is called.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: Kind,
    /// What it means, in one or two sentences.
    pub(super) description: &'static str,
    /// The steps from the report to the value, but for those that the kind asks for.
    pub(super) steps: Vec<Step>,
    /// What it is about: `network`, `raw` and the like.
    pub(super) component: &'static str,
    /// What it is about in particular, as a tag.
    pub(super) about: Option<(&'static str, String)>,
}

/// A step of preprocessing.
#[derive(Debug, Clone)]
pub(super) struct Step {
    kind: &'static str,
    parameters: Vec<String>,
    /// What becomes of a value that the step fails on; `None` makes the item unsupported.
    on_error: Option<OnError>,
}

/// What becomes of a value that a step fails on.
#[derive(Debug, Clone)]
pub(super) enum OnError {
    /// There is no value.
    Discard,
    /// This value.
    Value(&'static str),
}

impl Step {
    /// The part of a document at this path.
    pub(super) fn json_path(path: impl Into<String>, on_error: OnError) -> Self {
        Self { kind: "JSONPATH", parameters: vec![path.into()], on_error: Some(on_error) }
    }

    /// What is not known has no value.
    pub(super) fn unless_null() -> Self {
        Self { kind: "NOT_MATCHES_REGEX", parameters: vec!["^null$".to_owned()], on_error: Some(OnError::Discard) }
    }

    fn of(kind: &'static str, parameter: &str) -> Self {
        Self { kind, parameters: vec![parameter.to_owned()], on_error: None }
    }

    /// As an import takes it.
    pub(super) fn node(&self) -> Node {
        let parameters: Vec<Node> = self.parameters.iter().map(|text| text.as_str().into()).collect();
        let (handler, value) = match self.on_error {
            None => (Node::none(), Node::none()),
            Some(OnError::Discard) => ("DISCARD_VALUE".into(), Node::none()),
            Some(OnError::Value(value)) => ("CUSTOM_VALUE".into(), value.into()),
        };
        Node::map([
            ("type", self.kind.into()),
            ("parameters", parameters.into()),
            ("error_handler", handler),
            ("error_handler_params", value),
        ])
    }
}

impl Item {
    /// A number at this path of the report, which may be unknown.
    fn at(key: &str, path: &str, (name, kind): (&str, Kind), description: &'static str) -> Self {
        Self {
            key: format!("closewatch.{key}"),
            name: name.to_owned(),
            kind,
            description,
            steps: vec![Step::json_path(format!("$.{path}"), OnError::Discard), Step::unless_null()],
            component: "network",
            about: None,
        }
    }

    /// As an import takes it; a prototype of a discovery is written alike.
    pub(super) fn node(&self, what: &str, edition: Edition) -> Node {
        let (value_type, units, valuemap) = match self.kind {
            Kind::Count => ("UNSIGNED", "", ""),
            Kind::Share => ("FLOAT", "%", ""),
            Kind::Seconds => ("FLOAT", "s", ""),
            Kind::Moment => ("UNSIGNED", "unixtime", ""),
            Kind::Flag => ("UNSIGNED", "", "closewatch yes or no"),
            Kind::Verdict => ("UNSIGNED", "", "closewatch verdict"),
            Kind::Words | Kind::Pulse => ("CHAR", "", ""),
        };
        let mut steps = self.steps.clone();
        match self.kind {
            Kind::Share => steps.push(Step::of("MULTIPLIER", "100")),
            Kind::Flag => steps.push(Step { kind: "BOOL_TO_DECIMAL", parameters: vec![String::new()], on_error: None }),
            Kind::Words => steps.push(Step::of("DISCARD_UNCHANGED_HEARTBEAT", "5m")),
            Kind::Count | Kind::Seconds | Kind::Moment | Kind::Verdict | Kind::Pulse => {}
        }
        let is_text = matches!(self.kind, Kind::Words | Kind::Pulse);
        let optional = |text: &str| if text.is_empty() { Node::none() } else { text.into() };
        let valuemap = if valuemap.is_empty() { Node::none() } else { Node::map([("name", valuemap.into())]) };
        let mut tags = vec![tag("component", self.component)];
        tags.extend(self.about.iter().map(|(name, value)| tag(name, value)));
        Node::map([
            ("uuid", uuid(what, &self.key).into()),
            ("name", edition.item_name(&self.name).into()),
            ("type", "DEPENDENT".into()),
            ("key", self.key.as_str().into()),
            ("delay", "0".into()),
            ("history", "7d".into()),
            ("trends", if is_text { "0" } else { "365d" }.into()),
            ("value_type", value_type.into()),
            ("units", optional(units)),
            ("description", self.description.into()),
            ("valuemap", valuemap),
            ("preprocessing", steps.iter().map(Step::node).collect::<Vec<_>>().into()),
            ("master_item", Node::map([("key", MASTER.into())])),
            ("tags", tags.into()),
        ])
    }
}

/// A tag.
pub(super) fn tag(name: &str, value: &str) -> Node {
    Node::map([("tag", name.into()), ("value", value.into())])
}

/// Every item of the host, the report itself first.
pub(super) fn items(edition: Edition) -> Node {
    let mut nodes = vec![master(edition)];
    nodes.extend(numbers().iter().map(|item| item.node("item", edition)));
    nodes.into()
}

/// The report. A key that the agent does not know, and an agent that does not answer in time, become a report of an error.
fn master(edition: Edition) -> Node {
    let missing = "{\"error\":\"the agent does not know the key closewatch.report, or did not answer in time\"}";
    // 7.0 asks which errors: -1 is any.
    let any_error = if edition == Edition::Seven { "-1" } else { "" };
    let unsupported = Node::map([
        ("type", "CHECK_NOT_SUPPORTED".into()),
        ("parameters", vec![any_error.into()].into()),
        ("error_handler", "CUSTOM_VALUE".into()),
        ("error_handler_params", missing.into()),
    ]);
    Node::map([
        ("uuid", uuid("item", MASTER).into()),
        ("name", edition.item_name("The report").into()),
        ("type", "ZABBIX_PASSIVE".into()),
        ("key", MASTER.into()),
        ("delay", INTERVAL.into()),
        ("history", "0".into()),
        ("trends", "0".into()),
        ("value_type", "TEXT".into()),
        ("description", "What `closewatch check --format zabbix` prints: all other items are taken from it.".into()),
        ("preprocessing", vec![unsupported].into()),
        // Twice what the program gives itself, and more than 3 s, which is the usual.
        ("timeout", if edition == Edition::Seven { "5s".into() } else { Node::none() }),
        ("tags", vec![tag("component", "raw")].into()),
    ])
}

/// The numbers of the host.
fn numbers() -> Vec<Item> {
    let words = |key, path, name, description| Item::at(key, path, (name, Kind::Words), description);
    let error = Item {
        kind: Kind::Pulse,
        steps: vec![Step::json_path("$.error", OnError::Value("the agent answered with something that is no report"))],
        ..words("error", "error", "Error", "Why there is no report; empty while there is one.")
    };
    let mut items = vec![
        // Its silence is what tells that there is none: it has a value at every look.
        error,
        Item::at("verdict", "verdict", ("Verdict", Kind::Verdict), "How closewatch grades the host."),
        words("headline", "headline", "Headline", "The verdict in one sentence."),
        words("to_do", "to_do", "What to do first", "The first remedy of the leading finding."),
        words("version", "version", "Version", "The version of closewatch."),
        Item::at("taken_at", "taken_at", ("Time of the look", Kind::Moment), "When the look began."),
        Item::at("took", "took_s", ("Time of reading", Kind::Seconds), "How long reading the socket tables took."),
        Item::at("partial", "partial", ("Look cut short", Kind::Flag), "Whether the look ran into its time limit."),
        Item::at(
            "sockets",
            "sockets",
            ("TCP sockets", Kind::Count),
            "TCP sockets of all network namespaces that were read.",
        ),
    ];
    for state in TcpState::ALL {
        let (token, name) = (state.token(), format!("{} sockets", state.label()));
        let description = "TCP sockets in this state, of all network namespaces that were read.";
        let mut item =
            Item::at(&format!("state[{token}]"), &format!("states.{token}"), (&name, Kind::Count), description);
        item.about = Some(("state", token.to_owned()));
        items.push(item);
    }
    items.extend([
        Item::at("ports", "metrics.ports", ("Fullest port pool", Kind::Share), "Used share of the ports to the destination with the fewest left."),
        Item::at("stuck", "metrics.stuck", ("Most stuck sockets of one process", Kind::Count), "CLOSE-WAIT sockets surely older than the threshold, of the process with the most."),
        Item::at("fds", "metrics.fds", ("Fullest table of descriptors", Kind::Share), "Open descriptors against the limit, of the process that is nearest to it."),
        Item::at("ghosts", "metrics.ghosts", ("Most ghosts of one process", Kind::Count), "Sockets that a reset closed and a process still holds, of the one with the most."),
        Item::at("accept", "metrics.accept", ("Fullest accept queue", Kind::Share), "The fullest accept queue against its limit."),
        Item::at("eta", "metrics.eta", ("Time to the first limit", Kind::Seconds), "At the growth that the history of closewatch shows; no value while none is in sight."),
        Item::at("conntrack", "metrics.conntrack", ("Fullest connection tracking table", Kind::Share), "Tracked connections against nf_conntrack_max, of the fullest namespace."),
        Item::at("coverage", "metrics.coverage", ("Sockets with a known holder", Kind::Share), "Less than all where the agent may not see the processes of other users: `closewatch doctor` tells what would show them."),
        Item::at("unseen", "unseen_things", ("Things not seen", Kind::Count), "What the look did not see: processes, namespaces, limits."),
    ]);
    items
}
