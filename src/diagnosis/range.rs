//! Ranges of values, as monitoring plugins write them: `[@]start:end`.
//!
//! The grammar is that of the Monitoring Plugins Development Guidelines, section "Threshold and Ranges". A range alerts on what
//! lies outside of it, both ends being inside; with `@` it alerts on what lies inside. So `10` and `0:10` alert on 11 and not
//! on 10, `10:` on 9, and `@10:` on 10 and on more: that is what "from 10 on" means, and what the defaults are.

/// Which side of its ends a range alerts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alerts {
    /// On what is less than the start or more than the end.
    Outside,
    /// On the start, the end, and what lies between: `@`.
    Inside,
}

/// The values that alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    alerts: Alerts,
    start: f64,
    end: f64,
}

impl Range {
    /// A range from start to end; an end may be infinite. `None` when the start lies beyond the end or one is no number.
    #[must_use]
    pub fn new(alerts: Alerts, start: f64, end: f64) -> Option<Self> {
        let is_range = start <= end && start < f64::INFINITY && end > f64::NEG_INFINITY;
        is_range.then_some(Self { alerts, start, end })
    }

    /// Alerts on the value and on more: `@value:`.
    #[must_use]
    pub const fn from(value: f64) -> Self {
        Self { alerts: Alerts::Inside, start: value, end: f64::INFINITY }
    }

    /// Alerts on less than the value: `value:`.
    #[must_use]
    pub const fn below(value: f64) -> Self {
        Self { alerts: Alerts::Outside, start: value, end: f64::INFINITY }
    }

    /// Whether the value alerts.
    #[must_use]
    pub fn has_alert_at(&self, value: f64) -> bool {
        let inside = self.start <= value && value <= self.end;
        match self.alerts {
            Alerts::Outside => !inside,
            Alerts::Inside => inside,
        }
    }

    /// Whether the value alerts because there is too much, so that every greater one does too: what a rule can find fault
    /// with. Nothing at all is never too much.
    #[must_use]
    pub fn is_too_much(&self, value: f64) -> bool {
        value > 0.0 && self.upper_edge().is_some() && self.has_alert_at(value) && self.rises_at(value)
    }

    /// The value at which too much begins; `None` when more never becomes too much.
    #[must_use]
    pub fn upper_edge(&self) -> Option<f64> {
        let edge = match self.alerts {
            Alerts::Outside => self.end,
            Alerts::Inside if self.end == f64::INFINITY => self.start,
            Alerts::Inside => f64::INFINITY,
        };
        edge.is_finite().then_some(edge)
    }

    fn rises_at(&self, value: f64) -> bool {
        self.alerts == Alerts::Inside || value > self.end
    }

    /// The range in the grammar of plugins, each number times the scale: 100 for percent.
    #[must_use]
    pub fn in_grammar(&self, scale: f64) -> String {
        let number = |value: f64| decimal(value * scale);
        let at = if self.alerts == Alerts::Inside { "@" } else { "" };
        let end = if self.end == f64::INFINITY { String::new() } else { number(self.end) };
        match self.start {
            f64::NEG_INFINITY => format!("{at}~:{end}"),
            0.0 if self.alerts == Alerts::Outside && !end.is_empty() => end,
            start => format!("{at}{}:{end}", number(start)),
        }
    }

    /// The range in words, a value as `say` says it: `from 50 %`, `above 80 %`, `below 7 days`, `outside 5 to 10`.
    #[must_use]
    pub fn in_words(&self, say: impl Fn(f64) -> String) -> String {
        let (start, end) = (say(self.start), say(self.end));
        let from_least = self.start == f64::NEG_INFINITY;
        match (self.alerts, self.end == f64::INFINITY) {
            (Alerts::Outside, true) if from_least => "never".to_owned(),
            (Alerts::Outside, true) => format!("below {start}"),
            // Nothing that is measured is less than nothing.
            (Alerts::Outside, false) if from_least || self.start == 0.0 => format!("above {end}"),
            (Alerts::Outside, false) => format!("outside {start} to {end}"),
            (Alerts::Inside, true) if from_least => "always".to_owned(),
            (Alerts::Inside, true) => format!("from {start}"),
            (Alerts::Inside, false) if from_least => format!("up to {end}"),
            (Alerts::Inside, false) => format!("at {start} to {end}"),
        }
    }
}

/// A number as plugins may print it: no exponent, and no more places than tell something.
#[must_use]
pub fn decimal(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::NEG_INFINITY;
    const ALL: f64 = f64::INFINITY;

    fn range(alerts: Alerts, start: f64, end: f64) -> Range {
        Range::new(alerts, start, end).expect("a range")
    }

    #[test]
    fn both_ends_are_inside() {
        let cases: [(Range, &[f64], &[f64]); 6] = [
            (range(Alerts::Outside, 0.0, 10.0), &[-0.1, 10.1], &[0.0, 10.0]),
            (range(Alerts::Outside, 10.0, ALL), &[9.9], &[10.0, 1e9]),
            (range(Alerts::Outside, NONE, 10.0), &[10.1], &[-1e9, 10.0]),
            (range(Alerts::Inside, 10.0, 20.0), &[10.0, 20.0], &[9.9, 20.1]),
            (Range::from(10.0), &[10.0, 1e9], &[9.9]),
            (Range::below(10.0), &[9.9], &[10.0]),
        ];
        for (range, alerting, quiet) in cases {
            assert!(alerting.iter().all(|value| range.has_alert_at(*value)), "{range:?}");
            assert!(!quiet.iter().any(|value| range.has_alert_at(*value)), "{range:?}");
        }
    }

    #[test]
    fn too_much_is_what_more_does_not_mend() {
        for (range, edge, too_much, not) in [
            (range(Alerts::Outside, 0.0, 10.0), Some(10.0), Some(11.0), 10.0),
            (range(Alerts::Outside, 5.0, 10.0), Some(10.0), Some(11.0), 4.0),
            (Range::from(10.0), Some(10.0), Some(10.0), 9.0),
            (range(Alerts::Inside, 10.0, 20.0), None, None, 15.0),
            (Range::below(10.0), None, None, 9.0),
            (range(Alerts::Outside, 0.0, 0.0), Some(0.0), Some(1.0), 0.0),
            (Range::from(0.0), Some(0.0), Some(1.0), 0.0),
        ] {
            assert_eq!(range.upper_edge(), edge, "{range:?}");
            assert!(too_much.is_none_or(|value| range.is_too_much(value)), "{range:?}");
            assert!(!range.is_too_much(not), "{range:?}");
        }
    }

    #[test]
    fn a_range_is_written_as_plugins_read_it() {
        let cases = [
            (range(Alerts::Outside, 0.0, 0.8), "80", "above 0.8"),
            (range(Alerts::Outside, 0.1, 0.8), "10:80", "outside 0.1 to 0.8"),
            (range(Alerts::Outside, NONE, 0.333), "~:33.3", "above 0.333"),
            (Range::below(0.9), "90:", "below 0.9"),
            (Range::from(0.5), "@50:", "from 0.5"),
            (range(Alerts::Inside, 0.0, 0.2), "@0:20", "at 0 to 0.2"),
            (range(Alerts::Inside, NONE, 0.2), "@~:20", "up to 0.2"),
            (range(Alerts::Outside, 0.0, ALL), "0:", "below 0"),
        ];
        for (range, grammar, words) in cases {
            assert_eq!((range.in_grammar(100.0), range.in_words(decimal)), (grammar.to_owned(), words.to_owned()));
        }
    }

    #[test]
    fn what_begins_beyond_its_end_is_no_range() {
        for (start, end) in [(20.0, 10.0), (f64::NAN, 1.0), (0.0, f64::NAN), (ALL, ALL), (NONE, NONE)] {
            assert_eq!(Range::new(Alerts::Outside, start, end), None);
        }
    }

    #[test]
    fn numbers_have_no_exponent() {
        let cases =
            [(0.0, "0"), (-0.0, "0"), (27_905.0, "27905"), (98.866_534_9, "98.866535"), (1e15, "1000000000000000")];
        for (value, text) in cases {
            assert_eq!(decimal(value), text);
        }
    }
}
