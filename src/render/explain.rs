//! What a rule, a state or a threshold means, in plain words.

use super::Page;
use super::schema;
use super::table::findings::quantity;
use super::table::sheet::{STRONG, Sheet};
use crate::diagnosis::RULES;
use crate::diagnosis::explain::{rule, state};
use crate::diagnosis::finding::Rule;
use crate::diagnosis::metrics::METRICS;
use crate::diagnosis::policy::{Levels, Place, Policy};
use crate::model::state::TcpState;

/// Where the text after the name of a topic begins.
const NAME: usize = 22;

/// Something that can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The JSON Schema of the JSON report.
    JsonSchema,
    /// The JSON Schema of the JSON history.
    HistoryJsonSchema,
    /// Every threshold with its reason.
    Policy,
    /// A rule.
    Rule(Rule),
    /// A state.
    State(TcpState),
}

impl Topic {
    /// Every topic by its name, as it is listed and typed.
    pub fn all() -> impl Iterator<Item = (String, Self)> {
        let own = [
            ("json-schema", Self::JsonSchema),
            ("history-json-schema", Self::HistoryJsonSchema),
            ("policy", Self::Policy),
        ];
        let own = own.map(|(name, topic)| (name.to_owned(), topic));
        let rules = RULES.iter().map(|entry| (dashed(entry.token), Self::Rule(entry.rule)));
        let states = TcpState::ALL.into_iter().map(|state| (dashed(state.token()), Self::State(state)));
        own.into_iter().chain(rules).chain(states)
    }

    /// Reads a topic as people type it, with `-` or `_`, in either case; a state also as `ss` spells it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = dashed(&text.to_ascii_lowercase());
        let named = Self::all().find(|(name, _)| *name == plain).map(|(_, topic)| topic);
        named.or_else(|| TcpState::parse(text).map(Self::State))
    }
}

/// The explanation of the topic; without one, the list of topics.
#[must_use]
pub fn explain(topic: Option<Topic>, page: &Page) -> String {
    let mut sheet = Sheet::new(page);
    match topic {
        None => write_topics(&mut sheet),
        Some(Topic::JsonSchema) => return schema::REPORT.to_owned(),
        Some(Topic::HistoryJsonSchema) => return schema::HISTORY.to_owned(),
        Some(Topic::Policy) => write_policy(&mut sheet),
        Some(Topic::Rule(rule)) => write_rule(rule, &mut sheet),
        Some(Topic::State(state)) => write_state(state, &mut sheet),
    }
    sheet.into_text()
}

fn write_topics(sheet: &mut Sheet) {
    sheet.sentence(0, "closewatch explain TOPIC");
    sheet.blank();
    let mut entry = |name: &str, text: &str| sheet.labelled((2, NAME), (name, STRONG), text);
    entry("json-schema", "the JSON Schema of `closewatch report --json`");
    entry("history-json-schema", "the JSON Schema of `closewatch history --json`");
    entry("policy", "every threshold with its reason");
    for rule in RULES {
        entry(&dashed(rule.token), rule.title);
    }
    let states = TcpState::ALL.map(|state| dashed(state.token())).join(", ");
    entry("a TCP state", &states);
}

fn write_rule(found: Rule, sheet: &mut Sheet) {
    let text = rule(found);
    sheet.labelled((0, 0), (found.token(), STRONG), found.title());
    sheet.blank();
    sheet.sentence(2, text.means);
    sheet.blank();
    sheet.labelled((2, 12), ("measured", STRONG), text.measured);
    sheet.labelled((2, 12), ("to do", STRONG), text.to_do);
}

fn write_state(seen: TcpState, sheet: &mut Sheet) {
    sheet.labelled((0, 0), (seen.label(), STRONG), &format!("({} in the JSON report)", seen.token()));
    sheet.blank();
    sheet.sentence(2, state(seen));
}

fn write_policy(sheet: &mut Sheet) {
    let mut policy = Policy::default();
    for entry in Policy::entries() {
        let say = |value| quantity(value, entry.unit);
        let levels = match entry.place {
            Place::Age(age) => say(age(&mut policy).as_secs_f64()),
            Place::Levels(levels) => match *levels(&mut policy) {
                Levels { warning: Some(warning), critical: Some(critical), .. } => {
                    format!("warning {}, critical {}", warning.in_words(say), critical.in_words(say))
                }
                _ => "nothing by default".to_owned(),
            },
        };
        sheet.labelled((0, 13), (entry.name, STRONG), &levels);
        if let Some(metric) = METRICS.iter().find(|metric| metric.name == entry.name) {
            sheet.sentence(2, &format!("Measured by check: {}.", metric.meaning));
        }
        sheet.sentence(2, entry.reason);
        sheet.sentence(2, &format!("({})", entry.source));
        sheet.blank();
    }
}

fn dashed(token: &str) -> String {
    token.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Color, Detail};

    const PAGE: Page = Page { width: Some(80), color: Color::Off, detail: Detail::Brief };

    #[test]
    fn every_topic_is_listed_read_back_and_explained() {
        let list = explain(None, &PAGE);
        for (name, topic) in Topic::all() {
            assert!(list.contains(&name), "{name}:\n{list}");
            assert_eq!(Topic::parse(&name), Some(topic));
            assert_eq!(Topic::parse(&name.replace('-', "_").to_uppercase()), Some(topic));
            assert!(explain(Some(topic), &PAGE).len() > 60, "{name}");
        }
        assert_eq!(Topic::parse("FIN-WAIT-2"), Some(Topic::State(TcpState::FinWait2)));
        assert_eq!(Topic::parse("weather"), None);
    }

    #[test]
    fn explanations_fit_the_page() {
        for (name, topic) in Topic::all().filter(|(name, _)| !name.ends_with("json-schema")) {
            for line in explain(Some(topic), &PAGE).lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
        }
    }
}
