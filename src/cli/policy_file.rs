//! The policy file: levels of an operator's own, in TOML. Strict: what is not understood is refused with its line.

use std::fs;
use std::ops::Range as Span;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ranges::parse_range;
use super::usage::{UsageError, closest};
use super::values::parse_duration;
use crate::diagnosis::finding::Severity;
use crate::diagnosis::policy::{Place, Policy, PolicyEntry};

/// The key of the age, which may stand by itself or in the table of what it is the age of.
const STUCK_AFTER: &str = "stuck_after";
/// The table of what is stuck.
const STUCK: &str = "stuck";

/// Where a hint sends the reader.
const NAMES: &str = "`closewatch explain policy` lists the names";

/// Reads the file, and sets what it says in the policy.
///
/// # Errors
/// That it cannot be read, and the first thing in it that is not understood, with its line.
pub(super) fn read(path: &Path, policy: &mut Policy) -> Result<(), UsageError> {
    let text = fs::read_to_string(path).map_err(|error| {
        UsageError::new(
            format!("--policy: reading {}: {error}", path.display()),
            "name a TOML file that this user may read",
        )
    })?;
    apply(&text, &path.display().to_string(), policy)
}

/// Sets what the text says. `name` is that of its file.
fn apply(text: &str, name: &str, policy: &mut Policy) -> Result<(), UsageError> {
    let page = Page { text, name };
    let table = DeTable::parse(text).map_err(|error| {
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        page.refuse(error.span().unwrap_or_default(), what, "write it as TOML: [ports], then warning = \"60%\"")
    })?;
    for (key, value) in table.get_ref() {
        let known = Policy::entry(key.get_ref()).ok_or_else(|| page.unknown(key.span(), key.get_ref()))?;
        match known.place {
            Place::Age(age) => *age(policy) = page.age(value)?,
            Place::Levels(_) => set_levels(&page, known, value, policy)?,
        }
    }
    Ok(())
}

fn set_levels(
    page: &Page<'_>,
    entry: &PolicyEntry,
    value: &Spanned<DeValue<'_>>,
    policy: &mut Policy,
) -> Result<(), UsageError> {
    let name = entry.name;
    let DeValue::Table(table) = value.get_ref() else {
        let hint = format!("write a table: [{name}], then warning = and critical =");
        return Err(page.refuse(
            value.span(),
            format!("{name} has a warning and a critical range, not one value"),
            hint,
        ));
    };
    for (key, value) in table {
        let severity = match key.get_ref().as_ref() {
            "warning" => Severity::Warning,
            "critical" => Severity::Critical,
            STUCK_AFTER if name == STUCK => {
                policy.stuck_after = page.age(value)?;
                continue;
            }
            other => return Err(page.unknown_in(key.span(), other, name)),
        };
        let what = format!("{} {name}.{}", page.at(value.span()), key.get_ref());
        entry.ask(policy, severity, parse_range(&what, entry, &page.scalar(value)?)?);
    }
    Ok(())
}

/// A file that is being read.
struct Page<'a> {
    text: &'a str,
    name: &'a str,
}

impl Page<'_> {
    /// `policy.toml, line 3:`.
    fn at(&self, span: Span<usize>) -> String {
        let before = self.text.as_bytes().iter().take(span.start);
        format!("--policy: {}, line {}:", self.name, before.filter(|byte| **byte == b'\n').count() + 1)
    }

    fn refuse(&self, span: Span<usize>, what: impl AsRef<str>, hint: impl Into<String>) -> UsageError {
        UsageError::new(format!("{} {}", self.at(span), what.as_ref()), hint)
    }

    fn unknown(&self, span: Span<usize>, key: &str) -> UsageError {
        let names = Policy::entries().iter().map(|entry| entry.name);
        self.refuse(span, format!("there is no threshold `{key}`"), meant(key, names, NAMES))
    }

    fn unknown_in(&self, span: Span<usize>, key: &str, table: &str) -> UsageError {
        let keys = ["warning", "critical"].into_iter().chain((table == STUCK).then_some(STUCK_AFTER));
        let list = format!("[{table}] takes {}", keys.clone().collect::<Vec<_>>().join(", "));
        self.refuse(span, format!("{table} has no `{key}`"), meant(key, keys, &list))
    }

    fn age(&self, value: &Spanned<DeValue<'_>>) -> Result<Duration, UsageError> {
        parse_duration(&format!("{} {STUCK_AFTER}", self.at(value.span())), &self.scalar(value)?)
    }

    /// A string, or a number as if it were one.
    fn scalar(&self, value: &Spanned<DeValue<'_>>) -> Result<String, UsageError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
            DeValue::Float(number) => Ok(number.as_str().to_owned()),
            other => {
                let what = format!("a range is no {}", other.type_str());
                Err(self.refuse(value.span(), what, "write a number, or a string: 10, \"60%\", \"@80%:\", \"7d:\""))
            }
        }
    }
}

fn meant<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>, list: &str) -> String {
    match closest(typed, names) {
        Some(name) => format!("did you mean `{name}`? {list}"),
        None => list.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::range::{Alerts, Range};

    fn read(text: &str) -> Result<Policy, UsageError> {
        let mut policy = Policy::default();
        apply(text, "policy.toml", &mut policy).map(|()| policy)
    }

    #[test]
    fn every_threshold_can_be_set() {
        let mut text = String::new();
        for entry in Policy::entries() {
            text.push_str(&match entry.place {
                Place::Age(_) => "stuck_after = \"5m\"\n".to_owned(),
                Place::Levels(_) => format!("{}.critical = \"@0.5:\"\n", entry.name)
                    .replace("\"@0.5:\"", if entry.name == "eta" { "\"7d:\"" } else { "\"@0.5:\"" }),
            });
        }
        let mut policy = read(&text).expect("all of it makes sense");
        assert_eq!(policy.stuck_after, Duration::from_secs(300));
        for entry in Policy::entries() {
            if let Place::Levels(levels) = entry.place {
                assert!(levels(&mut policy).asked, "{}", entry.name);
            }
        }
    }

    #[test]
    fn numbers_strings_and_tables_are_read() {
        let policy = read("[stuck]\nwarning = 1_0\nstuck_after = 90\n[ports]\nwarning = 0.6\ncritical = \"@85%:\"\n");
        let policy = policy.expect("all of it makes sense");
        assert_eq!(policy.stuck.warning, Range::new(Alerts::Outside, 0.0, 10.0));
        assert_eq!(policy.stuck_after, Duration::from_secs(90));
        assert_eq!(policy.ports.critical, Some(Range::from(0.85)));
        assert_eq!(policy.time_wait, crate::diagnosis::policy::Levels { asked: false, ..policy.ports });
        assert_eq!(read("# nothing\n"), Ok(Policy::default()));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line_and_what_was_meant() {
        for (text, what, hint) in [
            ("\n[stuk]\nwarning = 1", "policy.toml, line 2: there is no threshold `stuk`", "did you mean `stuck`?"),
            ("[ports]\nwarnings = 1", "line 2: ports has no `warnings`", "did you mean `warning`?"),
            ("[ports]\nstuck_after = 1", "line 2: ports has no `stuck_after`", "[ports] takes warning, critical"),
            ("ports = 5", "line 1: ports has a warning and a critical range", "write a table: [ports]"),
            ("[ports]\n\nwarning = 60", "line 3: ports.warning: `60` is not a share", "60%"),
            ("[stuck]\nwarning = true", "line 2: a range is no boolean", "write a number"),
            ("[stuck]\nwarning = 0x10", "line 2: a range is no integer", "write a number"),
            ("[stuck]\nwarning = [1]", "line 2: a range is no array", "write a number"),
            ("stuck_after = \"1y\"", "line 1: stuck_after: `1y` is not a duration", "1d"),
            ("[stuck]\nwarning = 1\nwarning = 2", "line 3: duplicate key", "write it as TOML"),
            ("[stuck\n", "line 1: ", "write it as TOML"),
            ("[eta]\nwarning = \"7d\"", "line 2: eta.warning: `7d` alone alerts above 7d", "`7d:`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.message.contains(what) && error.hint.contains(hint), "{text}: {error:?}");
            assert!(!error.message.contains('\n'), "{error:?}");
        }
    }
}
