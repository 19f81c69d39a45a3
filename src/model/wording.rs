//! Numbers, spans and shares in words, the same in every sentence and every table.

use std::fmt::Display;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A count with its thousands set apart: `27,912`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and what is counted: `1 socket`, `27,912 sockets`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A span in its largest fitting unit, rounded down, so that a lower bound stays one: `340 ms`, `75 s`, `4 min`, `5 h`,
/// `21 days`. Two of a unit are waited for before the next is used.
#[must_use]
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{} ms", span.subsec_millis()),
        seconds if seconds < 2 * MINUTE => format!("{seconds} s"),
        seconds if seconds < 2 * HOUR => format!("{} min", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} days", count(seconds / DAY)),
    }
}

/// An age that is known by its bounds: `for 4 min`, `for at least 21 days`, `for 3 s to 21 days`.
///
/// `at_most` is `None` when there is no upper bound; `exact` says that the lower bound is the age itself.
#[must_use]
pub fn age(at_least: Duration, at_most: Option<Duration>, exact: bool) -> String {
    let from = span(at_least);
    match at_most.map(span) {
        _ if exact => format!("for {from}"),
        Some(to) if to == from => format!("for {from}"),
        Some(to) => format!("for {from} to {to}"),
        None => format!("for at least {from}"),
    }
}

/// A share of one, rounded down so that only what is full reads `100 %`: `3 %`, `under 1 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let whole = (share * 100.0 + 1e-9).floor();
    if whole < 1.0 && share > 0.0 { "under 1 %".to_owned() } else { format!("{whole:.0} %") }
}

/// The first few of a list, and how many more there are: `a, b and 5 more`.
#[must_use]
pub fn list<T: Display>(items: &[T], shown: usize) -> String {
    let first: Vec<String> = items.iter().take(shown).map(ToString::to_string).collect();
    match items.len().saturating_sub(shown) {
        0 => first.join(", "),
        more => format!("{} and {} more", first.join(", "), count(more as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (27_912, "27,912"), (1_234_567, "1,234,567")];
        for (number, words) in cases {
            assert_eq!(count(number), words);
        }
        assert_eq!(counted(1, "socket", "sockets"), "1 socket");
        assert_eq!(counted(0, "socket", "sockets"), "0 sockets");
    }

    #[test]
    fn spans_round_down_in_the_largest_fitting_unit() {
        let cases = [
            (340, "340 ms"),
            (75_000, "75 s"),
            (120_000, "2 min"),
            (299_999, "4 min"),
            (7_199_000, "119 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
            (1_900_799_000, "21 days"),
        ];
        for (millis, words) in cases {
            assert_eq!(span(Duration::from_millis(millis)), words);
        }
    }

    #[test]
    fn an_age_says_only_what_its_bounds_say() {
        let (short, long) = (Duration::from_secs(3), Duration::from_secs(21 * DAY));
        assert_eq!(age(short, Some(long), true), "for 3 s");
        assert_eq!(age(short, Some(long), false), "for 3 s to 21 days");
        assert_eq!(age(long, None, false), "for at least 21 days");
        assert_eq!(age(long, Some(long + Duration::from_secs(HOUR)), false), "for 21 days");
    }

    #[test]
    fn only_what_is_full_reads_as_full() {
        let cases =
            [(0.0, "0 %"), (0.004, "under 1 %"), (0.29, "29 %"), (0.999, "99 %"), (1.0, "100 %"), (1.02, "102 %")];
        for (share, words) in cases {
            assert_eq!(percent(share), words);
        }
    }

    #[test]
    fn a_list_says_what_it_leaves_out() {
        assert_eq!(list(&[80, 443], 2), "80, 443");
        assert_eq!(list(&[80, 443, 8080], 2), "80, 443 and 1 more");
    }
}
