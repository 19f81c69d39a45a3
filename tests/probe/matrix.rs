//! `probe matrix`: what the kernel showed in this very run is what the standards say.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{assert_confirmed, has_namespaces, outcome, outcome_for_nobody, probe};

/// One state of an end and what may follow it: the diagram of RFC 9293 section 3.3.2, figure 5, from ESTABLISHED on. `null`
/// is a connection that no table has any more; a reset leads there from everywhere (section 3.10.7.4), and so does the ACK of
/// a FIN from LAST-ACK.
const FOLLOWS: &[(&str, &[&str])] = &[
    ("established", &["fin_wait1", "close_wait"]),
    ("fin_wait1", &["fin_wait2", "closing", "time_wait"]),
    ("fin_wait2", &["time_wait"]),
    ("close_wait", &["last_ack"]),
    ("closing", &["time_wait"]),
    ("last_ack", &[]),
    ("time_wait", &[]),
];

fn states(row: &Value, end: &str) -> Vec<Option<String>> {
    let mut states: Vec<Option<String>> =
        row[end].as_array().expect("a list").iter().map(|state| state.as_str().map(str::to_owned)).collect();
    states.dedup();
    states
}

/// Whether each state may follow the one before. From ESTABLISHED to CLOSE-WAIT and on a look may miss nothing: the moments
/// are chosen so.
fn assert_is_a_path(states: &[Option<String>], row: &Value) {
    assert_eq!(states[0].as_deref(), Some("established"), "{row:#}");
    for pair in states.windows(2) {
        let [Some(from), to] = pair else { panic!("a connection came back: {row:#}") };
        let (_, next) = FOLLOWS.iter().find(|(state, _)| state == from).unwrap_or_else(|| panic!("{from}: {row:#}"));
        let allowed = to.as_deref().is_none_or(|to| next.contains(&to));
        assert!(allowed, "{from} to {to:?}: {row:#}");
    }
}

fn has(states: &[Option<String>], wanted: &str) -> bool {
    states.iter().any(|state| state.as_deref() == Some(wanted))
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field}: {row:#}"))
}

/// Holds a row against RFC 9293 section 3.6: who closes first goes through FIN-WAIT, the other end through CLOSE-WAIT, and
/// only a close of its own takes it on to LAST-ACK; TIME-WAIT, for 2 MSL, is of who closed first.
fn assert_closes_by_the_book(row: &Value) {
    let (first, other) = match text(row, "closes_first") {
        "server" => (states(row, "server"), states(row, "client")),
        _ => (states(row, "client"), states(row, "server")),
    };
    assert_is_a_path(&first, row);
    assert_is_a_path(&other, row);
    assert!(!has(&other, "fin_wait1") && !has(&other, "time_wait"), "{row:#}");
    match (text(row, "body"), text(row, "closes_first")) {
        ("read", _) => {
            let all = |states: &[Option<String>], wanted: &[&str]| wanted.iter().all(|state| has(states, state));
            assert!(all(&first, &["fin_wait1", "fin_wait2", "time_wait"]), "{row:#}");
            assert!(all(&other, &["close_wait", "last_ack"]) && other.last() == Some(&None), "{row:#}");
            let left_ms = row["time_wait_left_ms"].as_u64().expect("the TIME-WAIT has a timer");
            assert!((30_000..=60_000).contains(&left_ms), "{row:#}");
        }
        ("closed", _) => {
            assert!(first.last() == Some(&None) && other.last() == Some(&None), "{row:#}");
            assert!(!has(&first, "time_wait") && !has(&other, "last_ack"), "a reset, no FIN: {row:#}");
        }
        ("left", "server") => {
            assert!(has(&first, "fin_wait2") && other.last() == Some(&Some("close_wait".to_owned())), "{row:#}");
        }
        _ => assert_eq!((first.len(), other.len()), (1, 1), "nobody closes: {row:#}"),
    }
}

/// RFC 9112 section 6.1: no chunks to HTTP/1.0. RFC 1945 section 7.2.2 and RFC 9112 section 6.3: without a length only the
/// server can end the body. All else there is: RFC 9112 section 9.6 lets either side close.
fn is_possible(row: &Value) -> bool {
    let exchange = (text(row, "http"), text(row, "framing"), text(row, "closes_first"));
    !matches!(exchange, ("1.0", "chunked", _) | (_, "until-close", "client"))
}

fn assert_matrix(outcome: &(Value, Option<i32>)) {
    assert_confirmed(outcome);
    let rows = outcome.0["rows"].as_array().expect("a list");
    let key = |row: &Value| ["http", "framing", "closes_first", "body"].map(|field| text(row, field).to_owned());
    assert_eq!(rows.iter().map(key).collect::<BTreeSet<_>>().len(), 2 * 3 * 2 * 3);
    for row in rows {
        assert!(text(row, "sentence").ends_with('.') && text(row, "rule").ends_with('.'), "{row:#}");
        assert_eq!(row["impossible"].is_null(), is_possible(row), "{row:#}");
        if is_possible(row) {
            assert_closes_by_the_book(row);
        } else {
            assert_eq!((states_seen(row, "client"), states_seen(row, "server")), (0, 0), "{row:#}");
        }
    }
    let steps = outcome.0["steps"].as_array().expect("a list");
    assert_eq!(steps.len(), rows.iter().filter(|row| is_possible(row)).count());
}

fn states_seen(row: &Value, end: &str) -> usize {
    row[end].as_array().expect("a list").len()
}

#[test]
fn every_row_closes_by_the_book() {
    if !has_namespaces("matrix::every_row_closes_by_the_book") {
        return;
    }
    assert_matrix(&outcome(probe(&["matrix"])));
}

#[test]
fn a_user_without_privilege_sees_the_same() {
    const TEST: &str = "matrix::a_user_without_privilege_sees_the_same";
    if !has_namespaces(TEST) {
        return;
    }
    let Some(outcome) = outcome_for_nobody(TEST, &["matrix"]) else { return };
    assert_matrix(&outcome);
}

#[test]
fn the_table_has_every_row_and_a_sentence_below_it() {
    if !has_namespaces("matrix::the_table_has_every_row_and_a_sentence_below_it") {
        return;
    }
    let output = probe(&["matrix"]).output().expect("closewatch starts");
    let table = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = table.lines().collect();
    let rows: Vec<usize> = (0..lines.len()).filter(|nth| lines[*nth].contains("  ESTAB")).collect();
    assert_eq!(rows.len(), 24, "{table}");
    assert!(rows.iter().all(|nth| lines[nth + 1].starts_with("    ")), "{table}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("HTTP/1.")).count(), 6, "{table}");
    assert_eq!(lines.last(), Some(&"confirmed"));
}
