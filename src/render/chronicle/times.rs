//! Moments in words, always in UTC: the program knows no time zones, and a history travels.

use std::time::SystemTime;

use jiff::Timestamp;

/// `2026-02-14 06:05 UTC`.
pub(super) fn stamp(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(stamp) => stamp.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => "in a year that no calendar has".to_owned(),
    }
}

/// The same of seconds since 1970.
pub(super) fn stamp_of(seconds: f64) -> String {
    strftime(seconds, "%Y-%m-%d %H:%M UTC")
}

/// A moment as its axis needs it: by the day, by the minute or by the second, as far apart as the labels are. Midnight is
/// told by its day.
pub(super) fn label(seconds: f64, step_s: f64) -> String {
    const DAY_S: f64 = 86_400.0;
    if step_s >= DAY_S || seconds.rem_euclid(DAY_S) == 0.0 {
        strftime(seconds, "%-d %b")
    } else if step_s >= 60.0 {
        strftime(seconds, "%H:%M")
    } else {
        strftime(seconds, "%H:%M:%S")
    }
}

/// To the millisecond, which is what is remembered; empty for a time that no calendar has.
pub(super) fn rfc3339(seconds: f64) -> String {
    timestamp(seconds).map_or_else(String::new, |stamp| format!("{stamp:.3}"))
}

fn strftime(seconds: f64, format: &str) -> String {
    timestamp(seconds).map_or_else(String::new, |stamp| stamp.strftime(format).to_string())
}

fn timestamp(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1e3).round() as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_fine_as_their_distance() {
        let noon = 1_767_571_200.0 + 12.0 * 3600.0;
        assert_eq!(stamp_of(noon), "2026-01-05 12:00 UTC");
        assert_eq!(stamp(SystemTime::UNIX_EPOCH), "1970-01-01 00:00 UTC");
        assert_eq!(label(noon, 86_400.0), "5 Jan");
        assert_eq!(label(noon, 3600.0), "12:00");
        assert_eq!(label(noon + 12.0 * 3600.0, 3600.0), "6 Jan");
        assert_eq!(label(noon + 5.0, 5.0), "12:00:05");
        assert_eq!(rfc3339(noon + 0.25), "2026-01-05T12:00:00.250Z");
        assert_eq!(rfc3339(f64::INFINITY), "");
    }
}
