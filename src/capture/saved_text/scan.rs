//! The walk over the lines of a saved text: what each line is, and to which table it belongs.
//!
//! Every line is one of: a row; a part of the one above; something that stands around tables and says nothing of sockets
//! (blank, header, prompt, summary); or not understood, and then it is counted.

use std::borrow::Cow;

use super::command::parse_command;
use super::details::{Ending, begins_details, holds_details, is_unfinished, read_details};
use super::proc_table;
use super::row::{Program, Row, Table};
use super::ss::{self, Header, Parsed};
use super::{netstat, summary};
use crate::capture::proc_net::{BadRows, quoted};
use crate::model::tuple::Family;

/// A name of 15 bytes may hold as many line ends.
const LONGEST_ROW: usize = 16;

/// What a text holds.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    /// The tables of `ss` and `netstat`.
    pub(super) tables: Vec<Table>,
    /// The rows of `/proc/net/tcp` and `tcp6`: their line's number, their text, their family, and of which table.
    pub(super) proc_rows: Vec<ProcRow<'a>>,
    /// The lines that were not understood.
    pub(super) bad: BadRows,
    /// Whether the only text of `ss` is its summary.
    pub(super) has_summary: bool,
    /// Whether netstat said that it did not show the processes of others.
    pub(super) hides_processes: bool,
    /// The number of the last line, when no line end follows it.
    pub(super) open_end: Option<u64>,
    /// The first line that was not understood.
    pub(super) first_bad: Option<String>,
    /// How many lines were taken for what.
    pub(super) lines: LineCounts,
}

/// A row of `/proc/net/tcp`, not yet read: its byte order is decided by all of them.
#[derive(Debug)]
pub(super) struct ProcRow<'a> {
    pub(super) line: u64,
    pub(super) text: Cow<'a, str>,
    pub(super) family: Family,
    /// Which of the tables in the text it stands in.
    pub(super) table: u32,
}

/// How many lines were taken for what; the bad ones are counted in [`Scan::bad`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LineCounts {
    /// Rows of TCP and MPTCP sockets.
    pub(super) sockets: u64,
    /// Rows of other protocols.
    pub(super) others: u64,
    /// What continues a row.
    pub(super) continued: u64,
    /// Blank lines, headers, prompts and the like.
    pub(super) around: u64,
}

/// What the next line may continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Socket,
    /// A row that is not kept: of another protocol, or not understood.
    Passed,
}

/// Walks over the text.
pub(super) fn scan(text: &[u8]) -> Scan<'_> {
    let (lines, ends_open) = split(text);
    let mut walk = Walk {
        scan: Scan {
            tables: Vec::new(),
            proc_rows: Vec::new(),
            bad: BadRows::default(),
            has_summary: false,
            hides_processes: false,
            open_end: (ends_open && !lines.is_empty()).then_some(lines.len() as u64),
            first_bad: None,
            lines: LineCounts::default(),
        },
        table: Table::new(None),
        last: Last::Nothing,
        proc_tables: 0,
        proc_family: None,
    };
    let mut at = 0;
    while at < lines.len() {
        at += walk.step(&lines[at..], at as u64 + 1);
    }
    walk.finish()
}

/// The lines without their ends, and whether the last one has none.
fn split(text: &[u8]) -> (Vec<&[u8]>, bool) {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let ends_open = lines.pop_if(|last| last.is_empty()).is_none();
    (lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect(), ends_open)
}

struct Walk<'a> {
    scan: Scan<'a>,
    table: Table,
    last: Last,
    proc_tables: u32,
    /// The family of the table of `/proc` that the last rows were of.
    proc_family: Option<Family>,
}

impl<'a> Walk<'a> {
    /// Takes the first of the lines, and those that belong to it; says how many.
    fn step(&mut self, lines: &[&'a [u8]], number: u64) -> usize {
        let text = String::from_utf8_lossy(lines[0]);
        let ending = self.ending(number);
        if let Some(family) = proc_table::family_of(&text) {
            self.proc_row(text, family, number);
            return 1;
        }
        if self.surrounds(&text) {
            return 1;
        }
        let parsed = match netstat::parse_line(&text, number, ending) {
            Parsed::NoRow => (Program::Ss, ss::parse_line(&text, number, ending, &self.table)),
            parsed => (Program::Netstat, parsed),
        };
        match parsed {
            (_, Parsed::NoRow) => self.no_row(&text, number, ending),
            (Program::Ss, Parsed::Socket(row)) if is_unfinished(&text) => return self.long_row(*row, lines, number),
            (program, Parsed::Socket(row)) => self.socket(*row, program),
            (_, Parsed::Mptcp(inode, state)) => {
                self.table.mptcp.push((inode, state));
                self.scan.lines.sockets += 1;
                self.last = Last::Passed;
            }
            (program, Parsed::Other) => {
                self.begin_rows(program);
                self.scan.lines.others += 1;
                self.last = Last::Passed;
            }
            (_, Parsed::Bad(why)) => self.bad(&text, number, why),
        }
        1
    }

    /// A line without an end may be half a line; only the last one can be.
    fn ending(&self, number: u64) -> Ending {
        if self.scan.open_end == Some(number) { Ending::PerhapsCut } else { Ending::Whole }
    }

    fn proc_row(&mut self, text: Cow<'a, str>, family: Family, number: u64) {
        if self.proc_family != Some(family) {
            self.proc_tables += 1;
            self.proc_family = Some(family);
        }
        self.scan.proc_rows.push(ProcRow { line: number, text, family, table: self.proc_tables });
        self.scan.lines.sockets += 1;
        self.last = Last::Nothing;
    }

    /// Takes a line that stands around tables.
    fn surrounds(&mut self, text: &str) -> bool {
        let is_summary = summary::is_line(text);
        if proc_table::is_header(text) {
            self.proc_family = None;
        } else if let Some(header) = ss::parse_header(text) {
            self.begin_table(Program::Ss, header);
        } else if netstat::is_around(text) {
            self.scan.hides_processes |= netstat::tells_of_hidden_processes(text);
            if text.trim_start().starts_with("Proto Recv-Q") {
                self.begin_table(Program::Netstat, Header { names_protocols: true, is_recent: false });
            }
        } else if is_summary {
            self.scan.has_summary = true;
        } else if !text.trim().is_empty() {
            return false;
        }
        self.scan.lines.around += 1;
        // A TIME-WAIT has no tcp_info, and its second line is set in and blank.
        if text.is_empty() || !text.trim().is_empty() {
            self.last = Last::Nothing;
        }
        true
    }

    /// A header: what comes is a new table, unless nothing came since the command.
    fn begin_table(&mut self, program: Program, header: Header) {
        if self.table.program.is_some() {
            self.end_table(None);
        }
        (self.table.program, self.table.header) = (Some(program), header);
    }

    fn end_table(&mut self, command: Option<super::command::Command>) {
        let ended = std::mem::replace(&mut self.table, Table::new(command));
        if ended.is_of_others() && !ended.header.names_protocols {
            self.scan.lines.sockets -= ended.rows.len() as u64;
            self.scan.lines.others += ended.rows.len() as u64;
        } else if !(ended.rows.is_empty() && ended.mptcp.is_empty()) {
            self.scan.tables.push(ended);
        }
    }

    fn begin_rows(&mut self, program: Program) {
        if self.table.program.is_some_and(|other| other != program) {
            self.end_table(None);
        }
        self.table.program = Some(program);
    }

    fn socket(&mut self, row: Row, program: Program) {
        self.begin_rows(program);
        self.table.rows.push(row);
        self.scan.lines.sockets += 1;
        self.last = Last::Socket;
    }

    /// A row whose column of processes does not end on its line: the name of one holds a line end, or the text is cut.
    fn long_row(&mut self, row: Row, lines: &[&'a [u8]], number: u64) -> usize {
        let mut whole = String::from_utf8_lossy(lines[0]).into_owned();
        for (nth, line) in lines.iter().enumerate().take(LONGEST_ROW).skip(1) {
            whole.push('\n');
            whole.push_str(&String::from_utf8_lossy(line));
            if is_unfinished(&whole) {
                continue;
            }
            let ending = self.ending(number + nth as u64);
            if let Parsed::Socket(row) = ss::parse_line(&whole, number, ending, &self.table)
                && row.details.unread.is_none()
            {
                self.socket(*row, Program::Ss);
                self.scan.lines.continued += nth as u64;
                return nth + 1;
            }
            break;
        }
        self.socket(row, Program::Ss);
        1
    }

    fn no_row(&mut self, text: &str, number: u64, ending: Ending) {
        let is_set_in = text.starts_with(char::is_whitespace);
        let continues = match self.last {
            Last::Nothing => false,
            Last::Socket => begins_details(text) || is_set_in && holds_details(text),
            Last::Passed => begins_details(text) || is_set_in,
        };
        if continues {
            if let (Last::Socket, Some(row)) = (self.last, self.table.rows.last_mut()) {
                read_details(text, ending, &mut row.details);
            }
            self.scan.lines.continued += 1;
        } else if let Some(command) = parse_command(text) {
            self.end_table(Some(command));
            self.proc_family = None;
            self.scan.lines.around += 1;
            self.last = Last::Nothing;
        } else if proc_table::begins_row(text) {
            self.bad(text, number, format!("a row without its addresses: {}", quoted(text.trim())));
        } else {
            self.bad(text, number, format!("neither a socket nor a header: {}", quoted(text.trim())));
            // It was no row, and so nothing continues it.
            self.last = Last::Nothing;
        }
    }

    fn bad(&mut self, text: &str, number: u64, why: String) {
        self.scan.first_bad.get_or_insert_with(|| text.trim().to_owned());
        self.scan.bad.note(number, why);
        self.last = Last::Passed;
    }

    fn finish(mut self) -> Scan<'a> {
        self.end_table(None);
        self.scan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(scan: &Scan<'_>) -> u64 {
        let lines = scan.lines;
        lines.sockets + lines.others + lines.continued + lines.around + scan.bad.count()
    }

    #[test]
    fn a_name_with_a_line_end_does_not_end_its_row() {
        let text = "ESTAB 0 0 [2001:db8::5]:59470 [2001:db8::7]:22 users:((\"two\nlines\"\",pid=579,fd=16)) ino:5\n\
                    ESTAB 0 0 10.0.0.5:1 10.0.0.7:2 users:((\"next\",pid=1,fd=2))\n";
        let scan = scan(text.as_bytes());
        let rows = &scan.tables[0].rows;
        assert_eq!((rows[0].details.users[0].name.as_str(), rows[0].details.inode), ("two\nlines\"", Some(5)));
        assert_eq!((rows.len(), rows[1].line, scan.bad.count(), total(&scan)), (2, 3, 0, 3));
    }

    #[test]
    fn a_cut_list_of_processes_does_not_swallow_the_next_row() {
        let text = "ESTAB 0 0 10.0.0.5:1 10.0.0.7:2 users:((\"a\",pid=5\nESTAB 0 0 10.0.0.5:3 10.0.0.7:2 users:((\"b\",pid=1,fd=2))\n";
        let scan = scan(text.as_bytes());
        let rows = &scan.tables[0].rows;
        assert_eq!((rows.len(), rows[0].details.users.len(), rows[1].details.users[0].pid), (2, 0, 1));
        assert!(rows[0].details.unread.is_some());
    }

    #[test]
    fn what_stands_around_tables_is_no_socket_and_no_gap() {
        let text = "\u{feff}root@web1:~# ss -s\r\nTotal: 181\r\nTCP:   10 (estab 2, closed 0, orphaned 0, timewait 0)\r\n\r\n\
                    Transport Total     IP        IPv6\r\nTCP\t  10        3         7\r\nroot@web1:~# ss -tni\r\n\
                    State Recv-Q Send-Q Local Address:Port Peer Address:Port\r\nESTAB 0 0 10.0.0.5:1 10.0.0.7:2\r\n\
                    \t cubic mss:1448 cwnd:10 lastack:5\r\nroot@web1:~# exit\r\n";
        let scan = scan(text.as_bytes());
        assert_eq!((scan.lines, scan.bad.count()), (LineCounts { sockets: 1, others: 0, continued: 1, around: 9 }, 0));
        assert!(scan.has_summary && scan.open_end.is_none());
        assert_eq!(scan.tables[0].command.as_ref().map(|command| command.text.as_str()), Some("ss -tni"));
        assert_eq!(scan.tables[0].rows[0].details.clocks.map(|clocks| clocks.last_ack_recv_ms), Some(5));
    }

    #[test]
    fn what_is_not_understood_is_counted_with_its_lines() {
        let text = "Tue Mar  5 10:00:00\nESTAB 0 0 a b\nLISTEN 0 128 *:80 *:*\n  12: 0100\n";
        let scan = scan(text.as_bytes());
        assert_eq!((scan.bad.count(), scan.tables[0].rows.len(), total(&scan)), (3, 1, 4));
        let gap = scan.bad.into_gap("lines").expect("a gap");
        assert_eq!(gap.what, "lines (line 1, 2, 4)");
    }
}
