//! How it is shown: value maps, graphs, and a dashboard.

use super::Edition;
use super::discovery::process_graph;
use super::uuid::uuid;
use super::yaml::Node;

/// The graphs of the host: what each is called, and the items in it with their colours.
const GRAPHS: [(&str, &[(&str, &str)]); 3] = [
    (
        "TCP sockets by state",
        &[
            ("closewatch.state[established]", "1A7C11"),
            ("closewatch.state[close_wait]", "F63100"),
            ("closewatch.state[time_wait]", "2774A4"),
            ("closewatch.state[syn_sent]", "A54F10"),
            ("closewatch.state[fin_wait2]", "6C59DC"),
        ],
    ),
    ("CLOSE-WAIT sockets", &[("closewatch.state[close_wait]", "F63100"), ("closewatch.stuck", "A54F10")]),
    (
        "What can run out",
        &[
            ("closewatch.ports", "F63100"),
            ("closewatch.fds", "2774A4"),
            ("closewatch.accept", "A54F10"),
            ("closewatch.conntrack", "6C59DC"),
        ],
    ),
];

/// What numbers mean.
pub(super) fn value_maps() -> Node {
    let map = |name: &str, meanings: &[&str]| {
        let mapping = |(value, meaning): (usize, &&str)| {
            Node::map([("value", value.to_string().into()), ("newvalue", (*meaning).into())])
        };
        Node::map([
            ("uuid", uuid("value map", name).into()),
            ("name", name.into()),
            ("mappings", meanings.iter().enumerate().map(mapping).collect::<Vec<_>>().into()),
        ])
    };
    vec![
        map("closewatch verdict", &["OK", "WARNING", "CRITICAL", "UNKNOWN"]),
        map("closewatch yes or no", &["no", "yes"]),
    ]
    .into()
}

/// An item in a graph, at its place and in its colour.
pub(super) fn graph_item(edition: Edition, (place, color): (usize, &str), key: &str) -> Node {
    let item = Node::map([("host", edition.template().into()), ("key", key.into())]);
    let order = if place == 0 { Node::none() } else { place.to_string().into() };
    Node::map([("sortorder", order), ("color", color.into()), ("item", item)])
}

/// The graphs of the host.
pub(super) fn graphs(edition: Edition) -> Node {
    let graph = |(name, items): &(&str, &[(&str, &str)])| {
        let items = items.iter().enumerate().map(|(place, (key, color))| graph_item(edition, (place, color), key));
        Node::map([
            ("uuid", uuid("graph", name).into()),
            ("name", edition.item_name(name).into()),
            ("graph_items", items.collect::<Vec<_>>().into()),
        ])
    };
    GRAPHS.iter().map(graph).collect::<Vec<_>>().into()
}

/// The dashboard: the graphs of the host in two columns, and those of the processes below.
pub(super) fn dashboards(edition: Edition) -> Node {
    const NAME: &str = "TCP sockets";
    let mut widgets: Vec<Node> =
        GRAPHS.iter().enumerate().map(|(nth, (name, _))| graph(edition, nth, &edition.item_name(name))).collect();
    widgets.push(processes(edition, GRAPHS.len()));
    let page = Node::map([("widgets", widgets.into())]);
    vec![Node::map([("uuid", uuid("dashboard", NAME).into()), ("name", NAME.into()), ("pages", vec![page].into())])]
        .into()
}

/// Width and height of a widget, in the columns and rows of the edition, two beside each other.
fn size(edition: Edition) -> (usize, usize) {
    if edition == Edition::Seven { (36, 5) } else { (12, 5) }
}

fn widget(edition: Edition, kind: [&str; 2], nth: usize, fields: Vec<Node>) -> Node {
    let (width, height) = size(edition);
    let at = |place: usize| if place == 0 { Node::none() } else { place.to_string().into() };
    Node::map([
        ("type", kind[usize::from(edition == Edition::Seven)].into()),
        ("x", at(nth % 2 * width)),
        ("y", at(nth / 2 * height)),
        ("width", width.to_string().into()),
        ("height", height.to_string().into()),
        ("fields", fields.into()),
    ])
}

fn field(kind: &str, name: &str, value: Node) -> Node {
    Node::map([("type", kind.into()), ("name", name.into()), ("value", value)])
}

fn named(edition: Edition, name: &str) -> Node {
    Node::map([("host", edition.template().into()), ("name", name.into())])
}

fn graph(edition: Edition, nth: usize, name: &str) -> Node {
    let fields = match edition {
        Edition::Six => {
            vec![field("INTEGER", "source_type", "0".into()), field("GRAPH", "graphid", named(edition, name))]
        }
        Edition::Seven => {
            vec![field("GRAPH", "graphid.0", named(edition, name)), field("STRING", "reference", reference(nth).into())]
        }
    };
    widget(edition, ["GRAPH_CLASSIC", "graph"], nth, fields)
}

fn processes(edition: Edition, nth: usize) -> Node {
    let name = process_graph(edition);
    let fields = match edition {
        Edition::Six => vec![
            field("INTEGER", "source_type", "2".into()),
            field("INTEGER", "columns", "1".into()),
            field("INTEGER", "rows", "2".into()),
            field("GRAPH_PROTOTYPE", "graphid", named(edition, &name)),
        ],
        Edition::Seven => vec![
            field("INTEGER", "columns", "1".into()),
            field("INTEGER", "rows", "2".into()),
            field("GRAPH_PROTOTYPE", "graphid.0", named(edition, &name)),
            field("STRING", "reference", reference(nth).into()),
        ],
    };
    widget(edition, ["GRAPH_PROTOTYPE", "graphprototype"], nth, fields)
}

/// Five capital letters, by which other widgets would refer to this one.
fn reference(nth: usize) -> String {
    format!("CLSW{}", char::from(b'A' + nth as u8 % 26))
}
