//! One line of a table of `ss`: `[Netid] State Recv-Q Send-Q Local:Port Peer:Port …`.

use super::details::{Ending, read_details};
use super::endpoint::parse_place;
use super::row::{Details, Row, Table};
use crate::capture::proc_net::quoted;
use crate::model::state::TcpState;

/// What a line was taken for.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A TCP socket.
    Socket(Box<Row>),
    /// An MPTCP connection.
    Mptcp(Option<u64>, TcpState),
    /// A socket of another protocol.
    Other,
    /// It begins like a row and is not one that can be read; the reason.
    Bad(String),
    /// Something else.
    NoRow,
}

/// The names of protocols in the column Netid but for TCP's.
const OTHER_PROTOCOLS: [&str; 24] = [
    "udp", "raw", "icmp6", "sctp", "dccp", "???", "u_str", "u_dgr", "u_seq", "nl", "p_raw", "p_dgr", "v_str", "v_dgr",
    "ti_st", "ti_dg", "ti_rd", "ti_sq", "xdp", "unknown", "udpl", "tipc", "vsock", "unix",
];

/// The state as `ss` spells it. `UNCONN` is CLOSE, in which a TCP socket is listed only when it is bound.
fn parse_state(word: &str) -> Option<TcpState> {
    match word {
        "UNCONN" => Some(TcpState::BoundInactive),
        word => TcpState::ALL.into_iter().find(|state| state.label() == word && *state != TcpState::BoundInactive),
    }
}

/// What a header tells of the table below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    /// A column names the protocol of each row.
    pub(super) names_protocols: bool,
    /// It is of iproute2 5.4 or later, which names the column of processes, and shows the protocol above a TCP socket.
    pub(super) is_recent: bool,
}

/// Reads a header; `None` when the line is none.
pub(super) fn parse_header(line: &str) -> Option<Header> {
    let has = |word: &str| line.split_whitespace().any(|of_line| of_line == word);
    let first = line.split_whitespace().next()?;
    let is_header = matches!(first, "Netid" | "State" | "Recv-Q") && has("Local") && has("Peer");
    is_header.then_some(Header { names_protocols: first == "Netid", is_recent: has("Process") })
}

/// Reads a line; the table tells what the columns before may have left out.
pub(super) fn parse_line(line: &str, number: u64, ending: Ending, table: &Table) -> Parsed {
    let mut columns = Columns { rest: line };
    let Some(first) = columns.next() else { return Parsed::NoRow };
    let (protocol, state) = match first {
        "tcp" | "mptcp" => (first, columns.next()),
        other if OTHER_PROTOCOLS.contains(&other) => return other_protocol(columns),
        "`-" => return Parsed::Other,
        _ => ("tcp", Some(first)),
    };
    let Some(word) = state else { return Parsed::NoRow };
    let (state, recv) = match parse_state(word) {
        Some(state) => (state, columns.next()),
        None if matches!(word, "UNKNOWN" | "UNDEF") => return Parsed::Bad(format!("the state {word} is unknown")),
        None if !is_queue(word) => return Parsed::NoRow,
        // One state was asked for: its column is missing.
        None => match table.command.as_ref().and_then(|command| command.state) {
            Some(state) => (state, Some(word)),
            None => return stateless(columns, protocol),
        },
    };
    let row = match parse_columns(state, recv, &mut columns, ending) {
        Ok(row) => Row { line: number, ..row },
        Err(why) => return Parsed::Bad(why),
    };
    match protocol {
        "mptcp" => Parsed::Mptcp(row.details.inode, state),
        _ => Parsed::Socket(Box::new(row)),
    }
}

/// A row of another protocol has a state; a line of netstat has a number in its place.
fn other_protocol(mut columns: Columns<'_>) -> Parsed {
    let is_row = columns.next().is_some_and(|word| parse_state(word).is_some() || word == "UNKNOWN" || word == "UNDEF");
    if is_row { Parsed::Other } else { Parsed::NoRow }
}

/// A row with queues where the state should be, when nothing says which state was asked for.
fn stateless(mut columns: Columns<'_>, protocol: &str) -> Parsed {
    let (send, local) = (columns.next(), columns.next());
    if protocol == "tcp" && send.is_some_and(is_queue) && local.is_some_and(|local| parse_place(local).is_ok()) {
        return Parsed::Bad(NO_STATE.to_owned());
    }
    Parsed::NoRow
}

/// What is said of rows without a state.
pub(super) const NO_STATE: &str =
    "the row has no state: ss leaves the column out when it is asked for one state, and the command is not in the text";

fn parse_columns(
    state: TcpState,
    recv: Option<&str>,
    columns: &mut Columns<'_>,
    ending: Ending,
) -> Result<Row, String> {
    let recv = parse_queue(recv, "Recv-Q")?;
    let send = parse_queue(columns.next(), "Send-Q")?;
    let local = parse_place(columns.next().ok_or("the local address is missing")?)?;
    let remote = parse_place(columns.next().ok_or("the peer address is missing")?)?;
    let mut details = Details::default();
    read_details(columns.rest, ending, &mut details);
    Ok(Row { line: 0, state, family: None, local, remote, recv, send, details })
}

fn is_queue(word: &str) -> bool {
    word.strip_prefix('-').unwrap_or(word).bytes().all(|byte| byte.is_ascii_digit()) && !word.is_empty() && word != "-"
}

/// `ss` keeps queue lengths in an `int`: more than 2 GiB would read as a negative number.
fn parse_queue(word: Option<&str>, column: &str) -> Result<u32, String> {
    let word = word.ok_or_else(|| format!("the column {column} is missing"))?;
    let wrong = || format!("the column {column} holds no number: {}", quoted(word));
    if let Ok(length) = word.parse::<u32>() {
        return Ok(length);
    }
    word.parse::<i32>().map(i32::cast_unsigned).map_err(|_| wrong())
}

/// The words of a line, one after the other, and what is left of it.
struct Columns<'a> {
    rest: &'a str,
}

impl<'a> Columns<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::parse_command;
    use super::*;

    fn row(line: &str) -> Row {
        match parse_line(line, 1, Ending::Whole, &Table::new(None)) {
            Parsed::Socket(row) => *row,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn rows_of_every_layout_are_read() {
        for line in [
            "CLOSE-WAIT 1      0                 127.0.0.1:7000             127.0.0.1:34116  users:((\"pair\",593,34))",
            "tcp    CLOSE-WAIT 1      0      127.0.0.1:7000               127.0.0.1:34116  users:((\"pair\",pid=593,fd=34))",
            "CLOSE-WAIT  1       0                127.0.0.1:7000            127.0.0.1:34116   users:((\"pair\",pid=593,fd=34)) ",
            "    CLOSE-WAIT 1 0 127.0.0.1:afs3-fileserver 127.0.0.1:34116 users:((\"pair\",pid=593,fd=34)) ino:5 sk:1",
        ] {
            let row = row(line);
            assert_eq!((row.state, row.recv, row.send), (TcpState::CloseWait, 1, 0), "{line}");
            assert_eq!((row.local.port, row.remote.port, row.details.users[0].pid), (7000, 34_116, 593), "{line}");
        }
        assert_eq!(row("UNCONN 0 0 10.0.0.5:7777 0.0.0.0:*").state, TcpState::BoundInactive);
        assert_eq!(row("ESTAB -2147483648 0 10.0.0.5:1 10.0.0.5:2").recv, 1 << 31);
    }

    #[test]
    fn a_missing_state_is_that_of_the_command() {
        let line = "1      0      127.0.0.1:7000   127.0.0.1:34116 ";
        assert!(matches!(parse_line(line, 1, Ending::Whole, &Table::new(None)), Parsed::Bad(why) if why == NO_STATE));
        let table = Table::new(parse_command("$ ss -tan state close-wait"));
        let Parsed::Socket(row) = parse_line(line, 1, Ending::Whole, &table) else { panic!("a row") };
        assert_eq!((row.state, row.recv), (TcpState::CloseWait, 1));
    }

    #[test]
    fn other_protocols_are_told_from_what_is_no_row() {
        let parse = |line: &str| parse_line(line, 1, Ending::Whole, &Table::new(None));
        for other in
            ["udp   UNCONN 0 0 0.0.0.0:68 0.0.0.0:*", "nl UNCONN 0 0 0:0 *", "u_str ESTAB 0 0 * 1 * 2", "`- ESTAB 0"]
        {
            assert!(matches!(parse(other), Parsed::Other), "{other}");
        }
        for none in ["", "udp 0 0 0.0.0.0:68 0.0.0.0:*", "Tue Mar 5", "\t cubic rto:204", "estab 0 0 a b", "1 2 3"] {
            assert!(matches!(parse(none), Parsed::NoRow), "{none}: {:?}", parse(none));
        }
        for bad in ["ESTAB", "ESTAB 0 0", "ESTAB 0 0 10.0.0.5:80", "ESTAB x 0 a b", "tcp UNDEF 0 0 *:1 *:*"] {
            assert!(matches!(parse(bad), Parsed::Bad(_)), "{bad}: {:?}", parse(bad));
        }
    }

    #[test]
    fn headers_are_known() {
        for (line, names_protocols, is_recent) in [
            ("State      Recv-Q Send-Q        Local Address:Port          Peer Address:Port ", false, false),
            ("Netid  State      Recv-Q Send-Q Local Address:Port  Peer Address:Port", true, false),
            ("Recv-Q Send-Q Local Address:Port Peer Address:Port Process", false, true),
        ] {
            assert_eq!(parse_header(line), Some(Header { names_protocols, is_recent }), "{line}");
        }
        assert_eq!(parse_header("State of the art"), None);
    }
}
