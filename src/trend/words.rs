//! What a trend is called, for machines and for people.

use std::time::Duration;

use super::{Growth, Kind, Rate, Trend, Wall, Why};
use crate::model::wording::{count, span};

impl Trend {
    /// What is known, in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.growth {
            Growth::Unknown(why) => format!("Not known yet: {}.", why.label()),
            Growth::Flat => "It does not grow.".to_owned(),
            Growth::Growing(rate) => format!("{}; {}.", rate.sentence_part(), self.wall.sentence_part()),
        }
    }
}

impl Growth {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::Flat => "flat",
            Self::Growing(_) => "growing",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown(_) => "not known yet",
            Self::Flat => "does not grow",
            Self::Growing(_) => "grows",
        }
    }
}

/// Seconds ahead, as a span; what is met already is a second away.
#[must_use]
pub fn ahead(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds.max(1.0)).unwrap_or_default())
}

impl Rate {
    /// `83 more every hour, as seen over 24 h`; every day where it is slow, every second where it is fast.
    #[must_use]
    pub fn pace(&self) -> String {
        let (number, unit) = match self.per_hour {
            slow if slow < 10.0 => (slow * 24.0, "day"),
            fast if fast > 36_000.0 => (fast / 3600.0, "second"),
            other => (other, "hour"),
        };
        format!("{} more every {unit}, as seen over {}", count(number.round().max(1.0) as u64), span(self.over))
    }

    fn sentence_part(&self) -> String {
        let what = match self.kind {
            Kind::Leak => "What is leaked grows",
            Kind::Use => "What is in use grows at every time of day,",
        };
        let number = |per_hour: f64| count(per_hour.round().max(0.0) as u64);
        let rate = match self.per_hour {
            slow if slow < 10.0 => format!(
                "{} a day ({} to {})",
                number(slow * 24.0),
                number(self.at_least * 24.0),
                number(self.at_most * 24.0)
            ),
            _ => format!("{} an hour ({} to {})", number(self.per_hour), number(self.at_least), number(self.at_most)),
        };
        format!("{what} by {rate}, as seen over {}", span(self.over))
    }
}

impl Kind {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Use => "use",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Leak => "what is leaked",
            Self::Use => "what is in use",
        }
    }
}

impl Why {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::FewLooks => "few_looks",
            Self::ShortTime => "short_time",
            Self::Unclear => "unclear",
            Self::FewJumps => "few_jumps",
            Self::Stale => "stale",
            Self::Gone => "gone",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::FewLooks => "there are too few looks since the program or its line began",
            Self::ShortTime => {
                "nothing leaks, and whether the use grows takes three days of looks to tell from a daily wave"
            }
            Self::Unclear => "it has risen, and that may be chance or a wave",
            Self::FewJumps => "it rose in one jump or two, and only a third would show a rhythm",
            Self::Stale => "the last look is more than a day old",
            Self::Gone => "the last look did not list it any more",
        }
    }
}

impl Wall {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::NoLimit => "no_limit",
            Self::NotApproached => "not_approached",
            Self::Reached => "reached",
            Self::In { .. } => "in",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown(_) => "not known yet",
            Self::NoLimit => "no limit is known",
            Self::NotApproached => "not approached",
            Self::Reached => "reached",
            Self::In { .. } => "ahead",
        }
    }

    /// What becomes of the many things that are limited: `are gone in about 9 days`.
    #[must_use]
    pub fn outlook(&self) -> String {
        match self {
            Self::Reached => "are used up".to_owned(),
            Self::In { expected_s, .. } => format!("are gone in about {}", ahead(*expected_s)),
            Self::Unknown(_) | Self::NoLimit | Self::NotApproached => "grow".to_owned(),
        }
    }

    fn sentence_part(&self) -> String {
        let time = |seconds: f64| span(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        match *self {
            Self::Unknown(why) => format!("when it meets its limit is not known: {}", why.label()),
            Self::NoLimit => "no limit is known".to_owned(),
            Self::NotApproached => "the limit is more than a year away".to_owned(),
            Self::Reached => "the limit is reached".to_owned(),
            Self::In { expected_s, earliest_s, latest_s } => {
                let latest =
                    latest_s.map_or("no latest time".to_owned(), |latest| format!("in {} at the latest", time(latest)));
                format!("the limit is met in {}, in {} at the earliest, {latest}", time(expected_s), time(earliest_s))
            }
        }
    }
}
