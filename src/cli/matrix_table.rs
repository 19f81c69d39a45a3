//! The matrix of `closewatch probe matrix`, for people.

use crate::model::state::TcpState;
use crate::probe::matrix::{Figures, Shown};
use crate::probe::outcome::Outcome;

/// The table: a group for each version and framing with its rule, a row for each way in which it can go, and below the row
/// what to learn from it.
pub(super) fn table(outcome: &Outcome<Figures>) -> String {
    let mut text = String::new();
    let of_one_kind = |a: &Shown, b: &Shown| (a.row.http, a.row.framing) == (b.row.http, b.row.framing);
    for group in outcome.figures.rows.chunk_by(of_one_kind) {
        let Shown { row, rule, .. } = &group[0];
        text.push_str(&format!("HTTP/{}, {}\n  {rule}\n", row.http.token(), row.framing.token()));
        if group.iter().any(|shown| shown.impossible.is_none()) {
            text.push_str(&line(["CLOSES FIRST", "BODY", "CLIENT"], "SERVER"));
            group.iter().for_each(|shown| text.push_str(&show(shown)));
        }
        text.push('\n');
    }
    for step in outcome.steps.iter().filter(|step| !step.ok) {
        text.push_str(&format!("NOT OK  {}: expected {}; seen: {}\n", step.name, step.expected, step.observed));
    }
    text
}

fn show(shown: &Shown) -> String {
    let row = &shown.row;
    let (client, server) = match shown.impossible {
        Some(_) => ("-".to_owned(), "-".to_owned()),
        None => (path(&shown.client), path(&shown.server)),
    };
    let cells = line([row.closes_first.token(), row.body.token(), &client], &server);
    format!("{cells}    {}{}\n", shown.sentence, rest_of_time_wait(shown))
}

fn line(cells: [&str; 3], last: &str) -> String {
    let [closes, body, client] = cells;
    format!("  {closes:<12}  {body:<6}  {client:<46}  {last}\n")
}

/// The states in order, each once while it lasts: `ESTAB > CLOSE-WAIT > LAST-ACK > closed`.
fn path(states: &[Option<&str>]) -> String {
    let label = |token: &str| TcpState::parse(token).map_or("?", TcpState::label);
    let mut labels: Vec<&str> = states.iter().map(|state| state.map_or("closed", label)).collect();
    labels.dedup();
    labels.join(" > ")
}

fn rest_of_time_wait(shown: &Shown) -> String {
    let Some(left_ms) = shown.time_wait_left_ms else { return String::new() };
    format!(" ({}.{} s of 60 were left.)", left_ms / 1000, left_ms % 1000 / 100)
}
