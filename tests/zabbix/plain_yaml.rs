//! The YAML that the template is written in, and nothing beside: maps, lists, and strings in single quotes.

use serde_json::{Map, Value};

/// Reads a document; fails on anything that is not of this kind.
pub(crate) fn read(text: &str) -> Value {
    assert!(text.is_ascii() && !text.contains('\t'), "plain text");
    let lines: Vec<(usize, &str)> =
        text.lines().map(|line| (line.len() - line.trim_start().len(), line.trim_start())).collect();
    let mut at = 0;
    let value = block(&lines, &mut at, 0);
    assert_eq!(at, lines.len(), "something is left: {:?}", lines.get(at));
    value
}

fn block(lines: &[(usize, &str)], at: &mut usize, depth: usize) -> Value {
    let (indent, first) = lines[*at];
    assert_eq!(indent, depth, "line {}: {first}", *at + 1);
    if first.starts_with("- ") { list(lines, at, depth) } else { map(lines, at, (depth, depth)) }
}

fn list(lines: &[(usize, &str)], at: &mut usize, depth: usize) -> Value {
    let mut items = Vec::new();
    while let Some(&(indent, line)) = lines.get(*at) {
        let Some(rest) = line.strip_prefix("- ").filter(|_| indent == depth) else { break };
        if rest.starts_with('\'') {
            items.push(scalar(rest));
            *at += 1;
        } else {
            items.push(map(lines, at, (depth, depth + 2)));
        }
    }
    Value::Array(items)
}

/// A map whose first line may stand behind a dash.
fn map(lines: &[(usize, &str)], at: &mut usize, (first, depth): (usize, usize)) -> Value {
    let mut entries = Map::new();
    let mut expected = first;
    while let Some(&(indent, line)) = lines.get(*at) {
        let line = if indent == first && first != depth && entries.is_empty() { &line[2..] } else { line };
        if indent != expected || line.starts_with("- ") {
            break;
        }
        expected = depth;
        let (key, rest) = line.split_once(':').unwrap_or_else(|| panic!("line {}: {line}", *at + 1));
        assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "line {}: {line}", *at + 1);
        *at += 1;
        let value = match rest.strip_prefix(' ') {
            Some(text) => scalar(text),
            None => {
                assert_eq!(rest, "", "line {}", *at);
                block(lines, at, depth + 2)
            }
        };
        assert!(entries.insert(key.to_owned(), value).is_none(), "{key} comes twice before line {}", *at + 1);
    }
    Value::Object(entries)
}

fn scalar(text: &str) -> Value {
    let inner = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or_else(|| panic!("{text}"));
    assert!(!inner.replace("''", "").contains('\''), "{text}");
    Value::String(inner.replace("''", "'"))
}

#[test]
fn it_reads_what_it_should_and_nothing_else() {
    let read_back = read("a: 'it''s'\nb:\n  - c: '0'\n    d:\n      - 'x'\n      - 'y'\n  - 'z'\n");
    assert_eq!(read_back, serde_json::json!({"a": "it's", "b": [{"c": "0", "d": ["x", "y"]}, "z"]}));
    for wrong in ["a: 1\n", "a: 'x\n", "a:\n - 'x'\n", "a: 'x'\na: 'y'\n", "a: 'x'y'\n", "a:\n  b: 'x'\n   c: 'y'\n"] {
        assert!(std::panic::catch_unwind(|| read(wrong)).is_err(), "{wrong} is read");
    }
}
