//! YAML as an import of Zabbix takes it: maps, lists and strings, since every scalar of it is a string.
//!
//! Of the crates for YAML none that is well kept writes more than this needs in fewer lines, and all decide by themselves when a
//! string needs quotes; here each has them, so that `0`, `YES` and `1m` stay strings.

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A string, in one line.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order in which it is written.
    Map(Vec<(&'static str, Node)>),
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Node>> for Node {
    fn from(list: Vec<Node>) -> Self {
        Self::List(list)
    }
}

impl Node {
    /// A map with these entries; those without a value, empty lists among them, are left out.
    pub(super) fn map<const N: usize>(entries: [(&'static str, Node); N]) -> Self {
        let is_empty = |node: &Node| matches!(node, Self::List(list) if list.is_empty());
        Self::Map(entries.into_iter().filter(|(_, node)| !is_empty(node)).collect())
    }

    /// Nothing: an entry that is left out.
    pub(super) fn none() -> Self {
        Self::List(Vec::new())
    }

    /// The document.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    fn write(&self, depth: usize, out: &mut String) {
        let indent = "  ".repeat(depth);
        match self {
            Self::Text(text) => out.push_str(&format!("{indent}{}\n", quoted(text))),
            Self::List(list) => {
                for item in list {
                    let mut inner = String::new();
                    item.write(depth + 1, &mut inner);
                    // The first line of the item stands behind the dash.
                    out.push_str(&format!("{indent}- {}", inner.trim_start()));
                }
            }
            Self::Map(map) => {
                for (key, value) in map {
                    match value {
                        Self::Text(text) => out.push_str(&format!("{indent}{key}: {}\n", quoted(text))),
                        nested => {
                            out.push_str(&format!("{indent}{key}:\n"));
                            nested.write(depth + 1, out);
                        }
                    }
                }
            }
        }
    }
}

/// In single quotes only a single quote means something (YAML 1.2, 7.3.2).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written_as_they_are_read() {
        let node = Node::map([
            ("a", "it's".into()),
            ("none", Node::none()),
            ("b", vec![Node::map([("c", "0".into()), ("d", vec!["x".into(), "y".into()].into())]), "z".into()].into()),
        ]);
        let expected = "a: 'it''s'\nb:\n  - c: '0'\n    d:\n      - 'x'\n      - 'y'\n  - 'z'\n";
        assert_eq!(node.document(), expected);
    }
}
