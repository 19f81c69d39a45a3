//! One line of the table of `netstat`: `tcp 0 0 1.2.3.4:5 6.7.8.9:10 CLOSE_WAIT [user inode] [pid/program] [timer]`.

use super::details::Ending;
use super::endpoint::{Place, parse_place};
use super::row::{Details, Row};
use super::ss::Parsed;
use super::users::User;
use crate::capture::proc_net::quoted;
use crate::model::socket::Timer;
use crate::model::state::TcpState;
use crate::model::tuple::Family;

/// Words that the lines of other protocols begin with.
const OTHER_PROTOCOLS: [&str; 12] =
    ["udp", "udp6", "udplite", "udplite6", "raw", "raw6", "sctp", "sctp6", "unix", "l2cap", "rfcomm", "icmp6"];

/// An address and port that fill the column are cut to it, unless `-W` was given: which, the text does not tell.
const COLUMN: usize = 23;

/// Whether the line is one of those that stand around the tables.
pub(super) fn is_around(line: &str) -> bool {
    let line = line.trim_start();
    [
        "Active ",
        "Proto Recv-Q",
        "Proto RefCnt",
        "(Not all processes could be",
        "(No info could be read",
        "will not be shown",
    ]
    .iter()
    .any(|beginning| line.starts_with(beginning))
}

/// Whether the line says that processes of others were not shown.
pub(super) fn tells_of_hidden_processes(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("(Not all processes could be") || line.starts_with("(No info could be read")
}

/// Reads a line.
pub(super) fn parse_line(line: &str, number: u64, ending: Ending) -> Parsed {
    let mut words = line.split_whitespace();
    let Some(protocol) = words.next() else { return Parsed::NoRow };
    let is_numbered = words.next().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let family = match protocol {
        _ if !is_numbered => return Parsed::NoRow,
        "tcp" => Family::V4,
        "tcp6" => Family::V6,
        other if OTHER_PROTOCOLS.contains(&other) => return Parsed::Other,
        _ => return Parsed::NoRow,
    };
    match parse_row(line, family, ending) {
        Ok(row) => Parsed::Socket(Box::new(Row { line: number, ..row })),
        Err(why) => Parsed::Bad(why),
    }
}

fn parse_row(line: &str, family: Family, ending: Ending) -> Result<Row, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, recv, send, local, remote, state, rest @ ..] = words.as_slice() else {
        return Err("a column is missing".to_owned());
    };
    let queue = |word: &str| word.parse::<u32>().map_err(|_| format!("no queue length: {}", quoted(word)));
    if rest.is_empty() && ending == Ending::PerhapsCut && parse_state(state).is_none() {
        return Err("the line is cut".to_owned());
    }
    let state = parse_state(state).ok_or_else(|| format!("the state {} is unknown", quoted(state)))?;
    Ok(Row {
        line: 0,
        state,
        family: Some(family),
        local: parse_end(local, family)?,
        remote: parse_end(remote, family)?,
        recv: queue(recv)?,
        send: queue(send)?,
        details: parse_details(rest, ending),
    })
}

fn parse_end(text: &str, family: Family) -> Result<Place, String> {
    // An IPv4-mapped address is printed as IPv4, and fits.
    if family == Family::V6 && text.chars().count() == COLUMN && text.matches(':').count() > 1 {
        return Err(format!("the address {} may be cut to its column; netstat -W prints it whole", quoted(text)));
    }
    parse_place(text)
}

fn parse_state(word: &str) -> Option<TcpState> {
    let known = |state: &TcpState| state.token().to_ascii_uppercase() == word && *state != TcpState::BoundInactive;
    match word {
        "CLOSE" => Some(TcpState::BoundInactive),
        _ => TcpState::ALL.into_iter().find(known),
    }
}

/// Reads what the words behind the state are by their shape: columns that were not asked for are missing.
fn parse_details(words: &[&str], ending: Ending) -> Details {
    let mut details = Details::default();
    let mut words = words;
    if let [before @ .., name, left] = words
        && let Some(timer) = parse_timer(name, left)
    {
        details.timer = Some(timer);
        words = before;
    }
    if let [user, inode, after @ ..] = words
        && !is_program(user)
        && let Ok(inode) = inode.parse()
        && !(after.is_empty() && details.timer.is_none() && ending == Ending::PerhapsCut)
    {
        // The user is a name, which may be cut, or a number; `-n` makes it one.
        (details.inode, details.uid) = (Some(inode), user.parse().ok());
        words = after;
    }
    if let [program, arguments @ ..] = words
        && let Some((pid, name)) = program.split_once('/')
        && let Ok(pid) = pid.parse()
    {
        let name = [&[name], arguments].concat().join(" ");
        details.users.push(User { name, pid, fd: None });
    }
    details
}

/// `587/python3`, or `-` where no process is known.
fn is_program(word: &str) -> bool {
    word == "-" || word.split_once('/').is_some_and(|(pid, _)| pid.parse::<u32>().is_ok())
}

/// `keepalive (41.73/0/0)`: the seconds left, how often it fired, and how often it was probed.
fn parse_timer(name: &str, left: &str) -> Option<Timer> {
    let seconds = left.strip_prefix('(')?.strip_suffix(')')?.split('/').next()?;
    let (whole, hundredths) = seconds.split_once('.')?;
    let left_ms = whole.parse::<u32>().ok()?.checked_mul(1_000)?.checked_add(hundredths.parse::<u32>().ok()? * 10)?;
    match name {
        "off" => Some(Timer::Off),
        "on" => Some(Timer::Retransmit(left_ms)),
        "keepalive" => Some(Timer::KeepAlive(left_ms)),
        "timewait" => Some(Timer::TimeWait(left_ms)),
        "probe" => Some(Timer::Probe(left_ms)),
        name => name.starts_with("unkn").then_some(Timer::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> Row {
        match parse_line(line, 1, Ending::Whole) {
            Parsed::Socket(row) => *row,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn rows_with_any_columns_are_read() {
        let start = "tcp        1      0 127.0.0.1:7000          127.0.0.1:34116         CLOSE_WAIT  ";
        for (rest, inode, pid, timer) in [
            ("", None, None, None),
            ("593/python3         ", None, Some(593), None),
            ("-", None, None, None),
            ("0          15000948", Some(15_000_948), None, None),
            (
                "0          15000948   593/nginx: worker    off (0.00/0/0)",
                Some(15_000_948),
                Some(593),
                Some(Timer::Off),
            ),
            (
                "www-data   0          -                    keepalive (41.73/0/0)",
                Some(0),
                None,
                Some(Timer::KeepAlive(41_730)),
            ),
            ("on (0.80/3/0)", None, None, Some(Timer::Retransmit(800))),
        ] {
            let details = row(&format!("{start}{rest}")).details;
            assert_eq!((details.inode, details.timer), (inode, timer), "{rest}");
            assert_eq!(details.users.first().map(|user| user.pid), pid, "{rest}");
        }
        let worker = row(&format!("{start}593/nginx: worker"));
        assert_eq!((worker.state, worker.details.users[0].name.as_str()), (TcpState::CloseWait, "nginx: worker"));
        let v6 = row("tcp6 0 0 :::80 :::* LISTEN 582/python3");
        assert_eq!((v6.family, v6.local.port), (Some(Family::V6), 80));
    }

    #[test]
    fn addresses_that_may_be_cut_are_refused() {
        let bad = "tcp6 0 0 2001:db8::aaa:bbbb:c:44 2001:db8::7:22 ESTABLISHED";
        assert!(matches!(parse_line(bad, 1, Ending::Whole), Parsed::Bad(why) if why.contains("netstat -W")));
        for bad in ["tcp 0 0 a", "tcp 0 0 1.2.3.4:5 6.7.8.9:10 NONSENSE", "tcp 0 x 1.2.3.4:5 6.7.8.9:10 LISTEN"] {
            assert!(matches!(parse_line(bad, 1, Ending::Whole), Parsed::Bad(_)), "{bad}");
        }
        assert!(matches!(parse_line("udp 0 0 0.0.0.0:68 0.0.0.0:*", 1, Ending::Whole), Parsed::Other));
        assert!(matches!(parse_line("tcp LISTEN 0 128 *:80 *:*", 1, Ending::Whole), Parsed::NoRow));
    }
}
