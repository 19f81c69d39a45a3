//! What stands behind the addresses of a row of `ss`, on the same line or on those below: holders (`-p`), timers (`-o`),
//! uid, inode and cookie (`-e`), memory (`-m`), tcp_info (`-i`).

use super::row::Details;
use super::users::{BEGIN as USERS, Users, parse_users};
use crate::capture::proc_net::quoted;
use crate::model::socket::{Clocks, Timer};

/// Whether the text goes on at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A line end followed.
    Whole,
    /// None did: the last word may be half of one.
    PerhapsCut,
}

/// Whether a text ends within the column of processes: then the next line belongs to it.
pub(super) fn is_unfinished(text: &str) -> bool {
    text.find(USERS).is_some_and(|at| parse_users(&text[at..]) == Users::Unfinished)
}

/// Whether a line begins like one that continues a row, although nothing is set in front of it.
pub(super) fn begins_details(text: &str) -> bool {
    [USERS, "timer:(", "uid:", "ino:", "skmem:(", "mem:("].iter().any(|word| text.starts_with(word))
}

/// Whether a line that is set in holds anything that stands below a row: a `key:value`, or the way congestion is handled.
pub(super) fn holds_details(text: &str) -> bool {
    const CONTROLS: [&str; 10] =
        ["ts", "cubic", "reno", "bbr", "dctcp", "vegas", "westwood", "htcp", "bic", "illinois"];
    let is_key = |key: &str| {
        key.starts_with(|c: char| c.is_ascii_lowercase())
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-0123456789".contains(&byte))
    };
    let mut words = text.split_whitespace();
    words.clone().any(|word| word.split_once(':').is_some_and(|(key, _)| is_key(key)))
        || words.next().is_some_and(|first| CONTROLS.contains(&first))
}

/// Reads what stands in the text into the details. What is not known is left out: versions print different things.
pub(super) fn read_details(text: &str, ending: Ending, details: &mut Details) {
    let mut rest = text.trim();
    if ending == Ending::PerhapsCut && !rest.ends_with(')') {
        rest = rest.rsplit_once(char::is_whitespace).map_or("", |(whole, _)| whole);
    }
    let mut clocks = SeenClocks::default();
    while !rest.is_empty() {
        if rest.starts_with(USERS) {
            match parse_users(rest) {
                Users::Read(users, after) => {
                    details.users.extend(users);
                    rest = after.trim_start();
                    continue;
                }
                Users::Unfinished | Users::Wrong => {
                    details.unread.get_or_insert_with(|| format!("no list of processes: {}", quoted(rest)));
                }
            }
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        read_word(&rest[..end], details, &mut clocks);
        rest = rest[end..].trim_start();
    }
    // ss leaves out what is 0, and so an unread clock is 0 where any of tcp_info is shown; not at the end of a cut text.
    if clocks.has_info {
        details.has_info = true;
        details.has_clock |= clocks.has_clock;
        details.clocks = (ending == Ending::Whole && !clocks.is_wrong).then_some(clocks.read);
    }
}

struct SeenClocks {
    read: Clocks,
    has_info: bool,
    has_clock: bool,
    is_wrong: bool,
}

impl Default for SeenClocks {
    fn default() -> Self {
        let read = Clocks { last_data_sent_ms: 0, last_data_recv_ms: 0, last_ack_recv_ms: 0 };
        Self { read, has_info: false, has_clock: false, is_wrong: false }
    }
}

impl SeenClocks {
    fn read(&mut self, value: &str, place: impl FnOnce(&mut Clocks) -> &mut u32) -> bool {
        let read = value.parse().map(|ms| *place(&mut self.read) = ms);
        self.has_clock |= read.is_ok();
        self.is_wrong |= read.is_err();
        read.is_ok()
    }
}

/// Reads one word, `key:value` as a rule.
fn read_word(word: &str, details: &mut Details, clocks: &mut SeenClocks) {
    if matches!(word, "<->" | "<--" | "-->" | "---") {
        details.is_full = true;
        return;
    }
    let Some((key, value)) = word.split_once(':') else { return };
    let known = match key {
        "uid" => store(&mut details.uid, value.parse().ok()),
        "ino" => store(&mut details.inode, value.parse().ok()),
        "sk" => store(&mut details.cookie, u64::from_str_radix(value, 16).ok()),
        "v6only" => store(&mut details.v6only, value.parse::<u8>().ok().map(|set| set != 0)),
        "cgroup" => store(&mut details.cgroup, Some(value.to_owned())),
        "timer" => store(&mut details.timer, parse_timer(value)),
        "lastsnd" => clocks.read(value, |clocks| &mut clocks.last_data_sent_ms),
        "lastrcv" => clocks.read(value, |clocks| &mut clocks.last_data_recv_ms),
        "lastack" => clocks.read(value, |clocks| &mut clocks.last_ack_recv_ms),
        // Every connection has a segment size and a window of at least 1, and ss prints both.
        "mss" | "cwnd" => {
            clocks.has_info = true;
            true
        }
        _ => true,
    };
    if !known {
        details.unread.get_or_insert_with(|| format!("no value: {}", quoted(word)));
    }
}

fn store<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let known = value.is_some();
    if known {
        *place = value;
    }
    known
}

/// `(keepalive,1min59sec,0)`: the name, the time left as `print_ms_timer` of iproute2 writes it, rounded down, and how
/// often it has fired. A timer that is about to fire has an empty time.
fn parse_timer(text: &str) -> Option<Timer> {
    let mut fields = text.strip_prefix('(')?.strip_suffix(')')?.split(',');
    let (name, left) = (fields.next()?, fields.next()?);
    let left_ms = parse_left(left)?;
    Some(match name {
        "off" => Timer::Off,
        "on" => Timer::Retransmit(left_ms),
        "keepalive" => Timer::KeepAlive(left_ms),
        "timewait" => Timer::TimeWait(left_ms),
        "persist" => Timer::Probe(left_ms),
        _ => Timer::Unknown,
    })
}

/// `59min`, `1min59sec`, `7.234sec`, `200ms`: minutes, seconds and milliseconds, each left out when 0.
fn parse_left(text: &str) -> Option<u32> {
    let mut rest = text;
    let mut total: u32 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = rest.split_at(digits);
        let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (whole, thousandths) = number.split_once('.').unwrap_or((number, ""));
        let each = match &unit[..letters] {
            "min" => 60_000,
            "sec" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        let thousandths: u32 = if thousandths.is_empty() { 0 } else { thousandths.parse().ok()? };
        let part = whole.parse::<u32>().ok()?.checked_mul(each)?;
        total = total.checked_add(part)?.checked_add(thousandths)?;
        rest = &unit[letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(text: &str) -> Details {
        let mut details = Details::default();
        read_details(text, Ending::Whole, &mut details);
        details
    }

    #[test]
    fn everything_that_ss_tells_is_read() {
        let line = "users:((\"curl\",pid=581,fd=20)) timer:(keepalive,41sec,0) uid:1000 ino:15000306 sk:28794a \
                    cgroup:/system.slice/a.service v6only:0 <-> skmem:(r0,rb131072,t0,tb69120,f0,w0,o0,bl0,d0) ts sack \
                    bbr wscale:10,10 rto:204 rtt:0.021/0.01 mss:1448 cwnd:10 bbr:(bw:0bps,mrtt:0.021) \
                    send 5516.2Mbps lastsnd:3060 lastack:2988 pacing_rate 15764.4Mbps rcv_space:14480";
        let read = details(line);
        assert_eq!((read.users[0].name.as_str(), read.users[0].pid), ("curl", 581));
        assert_eq!((read.uid, read.inode, read.cookie), (Some(1000), Some(15_000_306), Some(0x28_794a)));
        assert_eq!((read.cgroup.as_deref(), read.v6only), (Some("/system.slice/a.service"), Some(false)));
        assert_eq!((read.timer, read.is_full, read.unread), (Some(Timer::KeepAlive(41_000)), true, None));
        let clocks = Clocks { last_data_sent_ms: 3060, last_data_recv_ms: 0, last_ack_recv_ms: 2988 };
        assert_eq!(read.clocks, Some(clocks), "a clock of 0 is not printed");
    }

    #[test]
    fn without_tcp_info_there_are_no_clocks() {
        assert_eq!(details("skmem:(r0,rb131072) ino:5").clocks, None);
        let mut cut = Details::default();
        read_details("cubic mss:1448 cwnd:10 lastsnd:3060 lastrcv:30", Ending::PerhapsCut, &mut cut);
        assert_eq!((cut.clocks, cut.has_info), (None, true), "half a number is no clock, and lastack may be missing");
        assert_eq!(details("mss:1448 lastack:x").clocks, None);
    }

    #[test]
    fn a_cut_end_is_not_read() {
        let mut cut = Details::default();
        read_details("uid:10 ino:1500", Ending::PerhapsCut, &mut cut);
        assert_eq!((cut.uid, cut.inode, cut.unread), (Some(10), None, None));
        let mut whole = Details::default();
        read_details("users:((\"a\",pid=1,fd=2))", Ending::PerhapsCut, &mut whole);
        assert_eq!(whole.users.len(), 1);
    }

    #[test]
    fn timers_are_read_to_what_ss_rounds_them() {
        let timer = |text: &str| details(&format!("timer:({text},0)")).timer;
        assert_eq!(timer("timewait,59sec"), Some(Timer::TimeWait(59_000)));
        assert_eq!(timer("keepalive,1min59sec"), Some(Timer::KeepAlive(119_000)));
        assert_eq!(timer("keepalive,119min"), Some(Timer::KeepAlive(7_140_000)));
        assert_eq!(timer("on,7.234sec"), Some(Timer::Retransmit(7_234)));
        assert_eq!(timer("on,052ms"), Some(Timer::Retransmit(52)));
        assert_eq!(timer("persist,"), Some(Timer::Probe(0)));
        assert_eq!(timer("delack,040ms"), Some(Timer::Unknown));
        for wrong in ["on,5days", "on,sec", "on,.5sec", "on,99999999min"] {
            assert_eq!(timer(wrong), None, "{wrong}");
        }
        assert!(details("timer:(on,5days,0)").unread.is_some());
    }
}
