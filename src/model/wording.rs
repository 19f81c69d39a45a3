//! Numbers, spans and shares in words, the same in every sentence and every table.

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

/// A share of one, rounded down so that only what is full reads `100 %`: `3 %`, `under 1 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let whole = (share * 100.0 + 1e-9).floor();
    if whole < 1.0 && share > 0.0 { "under 1 %".to_owned() } else { format!("{whole:.0} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_spans_and_shares_read_well() {
        assert_eq!([0, 999, 1000, 27_912].map(count), ["0", "999", "1,000", "27,912"]);
        let spans = [75, 240, 18_000, 21 * DAY].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["75 s", "4 min", "5 h", "21 days"]);
        assert_eq!([0.0, 0.001, 0.999, 1.0].map(percent), ["0 %", "under 1 %", "99 %", "100 %"]);
    }
}
