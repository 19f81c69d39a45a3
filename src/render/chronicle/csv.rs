//! The history for spreadsheets and scripts: one row for each number of each look, or hour of looks.
//!
//! Quoted as RFC 4180 asks, with its line ends. What is not known is empty. Of a single look `least`, `most` and `last` are
//! the same. Strangers choose names: what a terminal could act on is written out, and a name that a spreadsheet would take
//! for a formula begins with an apostrophe.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::SystemTime;

use super::times::rfc3339;
use crate::chronicle::Chronicle;
use crate::model::look::{Look, Program};
use crate::model::numbers::{OtherNumbers, ProcessNumbers, Spread};
use crate::model::past::PoolName;
use crate::model::state::TcpState;
use crate::model::text::printable;
use crate::trend::forecast::unix_seconds;

/// The names of the columns.
const HEADER: &str = "time,until,looks,kind,number,namespace,name,pid,unit,container,executable,source,destination,least,\
                      most,last,limit\r\n";

/// Writes the looks that are shown as CSV.
///
/// # Errors
/// Those of `out`.
pub(super) fn render(chronicle: &Chronicle, out: &mut impl Write) -> io::Result<()> {
    out.write_all(HEADER.as_bytes())?;
    chronicle.looks.iter().try_for_each(|look| write_look(look, out))
}

/// What a number was counted of.
#[derive(Debug, Clone, Default)]
struct Subject {
    namespace: String,
    program: [String; 5],
    route: [String; 2],
}

impl Subject {
    fn namespace(name: &str) -> Self {
        Self { namespace: stranger(name), ..Self::default() }
    }

    fn process(program: &Program) -> Self {
        let service = &program.service;
        let known = |text: &Option<String>| text.as_deref().map_or_else(String::new, stranger);
        let pid = program.key.pid.to_string();
        let names =
            [stranger(&service.name), pid, known(&service.unit), known(&service.container), known(&service.exe)];
        Self { program: names, ..Self::namespace(&service.netns) }
    }

    fn pool(pool: &PoolName) -> Self {
        Self { route: [pool.source.to_string(), pool.destination.to_string()], ..Self::namespace(&pool.netns) }
    }
}

/// What was counted: the three numbers of a spread that are known, and the limit.
#[derive(Debug, Clone, Copy)]
struct Counted {
    least: Option<u64>,
    most: Option<u64>,
    last: Option<u64>,
    limit: Option<u64>,
}

impl Counted {
    fn of(spread: Spread) -> Self {
        Self { least: Some(spread.least), most: Some(spread.most), last: Some(spread.last), limit: None }
    }

    fn against(spread: Spread, limit: Option<u64>) -> Self {
        Self { limit, ..Self::of(spread) }
    }
}

/// The rows of one look.
struct Rows<'o, W> {
    out: &'o mut W,
    /// `time,until,looks`.
    when: String,
}

fn write_look(look: &Look, out: &mut impl Write) -> io::Result<()> {
    let at = |time: SystemTime| rfc3339(unix_seconds(time));
    let mut rows = Rows { out, when: format!("{},{},{}", at(look.began), at(look.ended), look.looks) };
    rows.write(("host", "stuck"), &Subject::default(), Counted::of(look.n_stuck))?;
    for (name, states) in &look.namespaces {
        let subject = Subject::namespace(name);
        for (state, spread) in TcpState::ALL.into_iter().zip(states) {
            rows.write(("state", state.token()), &subject, Counted::of(*spread))?;
        }
    }
    for (program, numbers) in &look.processes {
        rows.write_process(&Subject::process(program), numbers, look.looks)?;
    }
    rows.write_others("other_processes", &look.other_processes)?;
    for (name, numbers) in &look.pools {
        let subject = Subject::pool(name);
        rows.write(("pool", "used"), &subject, Counted::against(numbers.used, Some(numbers.usable)))?;
        rows.write(("pool", "stuck"), &subject, Counted::of(numbers.stuck))?;
    }
    rows.write_others("other_pools", &look.other_pools)?;
    for ((kind, netns), numbers) in &look.limits {
        let subject = netns.as_deref().map_or_else(Subject::default, Subject::namespace);
        rows.write(("limit", kind.token()), &subject, Counted::against(numbers.used, Some(numbers.limit)))?;
    }
    Ok(())
}

impl<W: Write> Rows<'_, W> {
    fn write_process(&mut self, subject: &Subject, numbers: &ProcessNumbers, looks: u64) -> io::Result<()> {
        self.write(("process", "sockets"), subject, Counted::of(numbers.sockets))?;
        self.write(("process", "close_wait"), subject, Counted::of(numbers.close_wait))?;
        self.write(("process", "stuck"), subject, Counted::of(numbers.stuck))?;
        if let Some(ghosts) = numbers.ghosts {
            self.write(("process", "ghosts"), subject, Counted::of(ghosts))?;
        }
        if let Some(open) = numbers.fds_open {
            self.write(("process", "descriptors"), subject, Counted::against(open, numbers.fds_limit))?;
        }
        // Of an hour only the least of it is kept.
        let rest = (looks == 1).then_some(numbers.leaked);
        let leaked = Counted { least: Some(numbers.leaked), most: rest, last: rest, limit: None };
        self.write(("process", "leaked"), subject, leaked)
    }

    fn write_others(&mut self, kind: &str, others: &OtherNumbers) -> io::Result<()> {
        for (number, spread) in [("count", others.count), ("sockets", others.sockets), ("stuck", others.stuck)] {
            self.write((kind, number), &Subject::default(), Counted::of(spread))?;
        }
        Ok(())
    }

    fn write(&mut self, (kind, number): (&str, &str), subject: &Subject, counted: Counted) -> io::Result<()> {
        write!(self.out, "{},{kind},{number},{}", self.when, field(&subject.namespace))?;
        for text in subject.program.iter().chain(&subject.route) {
            write!(self.out, ",{}", field(text))?;
        }
        for number in [counted.least, counted.most, counted.last, counted.limit] {
            write!(self.out, ",{}", number.map_or_else(String::new, |number| number.to_string()))?;
        }
        self.out.write_all(b"\r\n")
    }
}

/// What somebody else chose, so that neither a terminal nor a spreadsheet acts on it.
fn stranger(text: &str) -> String {
    let plain = printable(text);
    match plain.chars().next() {
        Some('=' | '+' | '-' | '@') => format!("'{plain}"),
        _ => plain.into_owned(),
    }
}

/// The text as one field: quoted where a comma, a quote or a blank at an end could mislead.
fn field(text: &str) -> Cow<'_, str> {
    if text.contains(['"', ',', '\r', '\n']) || text.trim() != text {
        return Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")));
    }
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_formulas_are_not() {
        assert_eq!(field("plain text"), "plain text");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field(" a"), "\" a\"");
        assert_eq!(field(""), "");
        assert_eq!(stranger("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(stranger("\r\nx\u{1b}[31m"), "\\r\\nx\\u{1b}[31m");
    }
}
