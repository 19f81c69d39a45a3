//! The language of `--warning`, `--critical` and the policy file: names of thresholds, and ranges in their units. Pure.

use super::usage::{UsageError, closest};
use super::values::parse_duration;
use crate::diagnosis::finding::{Severity, Unit};
use crate::diagnosis::metrics::{METRICS, Worse};
use crate::diagnosis::policy::{Levels, Place, Policy, PolicyEntry};
use crate::diagnosis::range::{Alerts, Range};

/// Replaces levels by what `--warning` and `--critical` say.
///
/// # Errors
/// The first that cannot be acted on, and a warning that lies beyond a critical range that nobody typed.
pub(super) fn ask(policy: &mut Policy, warning: &[String], critical: &[String]) -> Result<(), UsageError> {
    let all = [("--warning", Severity::Warning, warning), ("--critical", Severity::Critical, critical)];
    for (option, severity, texts) in all {
        for text in texts {
            let Some((name, range)) = text.split_once('=') else {
                return Err(UsageError::new(
                    format!("{option}: `{text}` has no `=`"),
                    format!("write a metric and a range: {option} ports=60%,stuck=10"),
                ));
            };
            let entry = metric(option, name)?;
            entry.ask(policy, severity, parse_range(&format!("{option} {name}"), entry, range)?);
        }
    }
    refuse_hidden_warnings(policy)
}

/// A warning that was raised beyond the critical range of the default would never be one.
pub(super) fn refuse_hidden_warnings(policy: &Policy) -> Result<(), UsageError> {
    let (mut asked, mut default) = (policy.clone(), Policy::default());
    for entry in Policy::entries() {
        let Place::Levels(levels) = entry.place else { continue };
        let (asked, default) = (*levels(&mut asked), *levels(&mut default));
        if asked.asked && asked.critical == default.critical && is_hidden(&asked) {
            let range = default.critical.map_or_else(String::new, |range| text_of(entry, range));
            let name = entry.name;
            return Err(UsageError::new(
                format!("{name}: the warning begins beyond the critical range, which is {range} by default"),
                format!("say from where on {name} is critical, too: --critical {name}=RANGE"),
            ));
        }
    }
    Ok(())
}

fn is_hidden(levels: &Levels) -> bool {
    let edge = |range: Option<Range>| range.and_then(|range| range.upper_edge());
    edge(levels.warning).zip(edge(levels.critical)).is_some_and(|(warning, critical)| warning > critical)
}

/// A range of the threshold as it would be typed.
fn text_of(entry: &PolicyEntry, range: Range) -> String {
    match entry.unit {
        Unit::Ratio => {
            let text = range.in_grammar(100.0);
            if text.ends_with(':') { text.replacen(':', "%:", 1) } else { format!("{text}%") }
        }
        _ => range.in_grammar(1.0),
    }
}

/// The metric that an option names.
fn metric(option: &str, name: &str) -> Result<&'static PolicyEntry, UsageError> {
    if let Some(entry) = METRICS.iter().find(|entry| entry.name == name).and_then(|entry| Policy::entry(entry.name)) {
        return Ok(entry);
    }
    let names = METRICS.iter().map(|entry| entry.name);
    let list = names.clone().collect::<Vec<_>>().join(" ");
    let hint = match closest(name, names) {
        _ if Policy::entry(name).is_some() => format!("--policy FILE sets {name}; the metrics are: {list}"),
        Some(meant) => format!("did you mean `{meant}`? The metrics are: {list}"),
        None => format!("the metrics are: {list}"),
    };
    Err(UsageError::new(format!("{option}: there is no metric `{name}`"), hint))
}

/// Reads `[@]start:end` in the unit of the threshold. `what` names it in the error: `--warning ports`.
pub(super) fn parse_range(what: &str, entry: &PolicyEntry, text: &str) -> Result<Range, UsageError> {
    let (alerts, ends) = match text.strip_prefix('@') {
        Some(ends) => (Alerts::Inside, ends),
        None => (Alerts::Outside, text),
    };
    let (start, end) = match ends.split_once(':') {
        Some((start, end)) => (start, end),
        None => {
            refuse_bare(what, entry, ends)?;
            ("", ends)
        }
    };
    if end.is_empty() && !ends.contains(':') {
        return Err(no_range(what, text));
    }
    let number = |text: &str| parse_number(what, entry.unit, text);
    let start = match start {
        "~" => f64::NEG_INFINITY,
        "" => 0.0,
        start => number(start)?,
    };
    let end = if end.is_empty() { f64::INFINITY } else { number(end)? };
    let range = Range::new(alerts, start, end).ok_or_else(|| {
        let (start, end) = ends.split_once(':').unwrap_or(("0", ends));
        UsageError::new(
            format!("{what}: the range `{text}` begins beyond its end"),
            format!("write the lower end first: {end}:{start}"),
        )
    })?;
    refuse_unruly(what, entry, range)?;
    Ok(range)
}

fn no_range(what: &str, text: &str) -> UsageError {
    UsageError::new(
        format!("{what}: `{text}` is not a range"),
        "write 10 (alerts above 10), 10: (below 10), @10: (from 10 on), 10:20 (outside) or @10:20 (inside)",
    )
}

/// `eta=7d` would alert on more than seven days, which nobody means.
fn refuse_bare(what: &str, entry: &PolicyEntry, end: &str) -> Result<(), UsageError> {
    let is_worse_below =
        METRICS.iter().any(|metric| metric.name == entry.name && metric.worse == Worse::Less && !end.is_empty());
    if !is_worse_below {
        return Ok(());
    }
    Err(UsageError::new(
        format!("{what}: `{end}` alone alerts above {end}, and of {} less is worse", entry.name),
        format!("write `{end}:` to alert below {end}, or `0:{end}` if above is meant"),
    ))
}

/// What no metric measures, rules alone grade: by too much.
fn refuse_unruly(what: &str, entry: &PolicyEntry, range: Range) -> Result<(), UsageError> {
    let is_metric = METRICS.iter().any(|metric| metric.name == entry.name);
    if is_metric || range.upper_edge().is_some() {
        return Ok(());
    }
    Err(UsageError::new(
        format!("{what}: {} is graded by how much there is, and this range does not grow worse", entry.name),
        "write 10 to alert above 10, or @10: to alert from 10 on",
    ))
}

fn parse_number(what: &str, unit: Unit, text: &str) -> Result<f64, UsageError> {
    match unit {
        Unit::Seconds => Ok(parse_duration(what, text)?.as_secs_f64()),
        Unit::Ratio => parse_share(what, text),
        _ => parse_decimal(text, "").ok_or_else(|| {
            UsageError::new(format!("{what}: `{text}` is not a number"), "it is a count: write a number, as 10 or 1000")
        }),
    }
}

/// `80%` or `0.8`: the same number, to the last bit, as 80 of 100 are.
fn parse_share(what: &str, text: &str) -> Result<f64, UsageError> {
    let share = match text.strip_suffix('%') {
        Some(percent) => parse_decimal(percent, "e-2"),
        None => parse_decimal(text, "").filter(|share| *share <= 1.0),
    };
    share.ok_or_else(|| {
        let hint = match parse_decimal(text, "") {
            Some(_) => format!("write {text}% for percent, or a share of one: 0.8"),
            None => "write percent or a share of one: 80% or 0.8".to_owned(),
        };
        UsageError::new(format!("{what}: `{text}` is not a share"), hint)
    })
}

/// A number of digits, a point and a sign; `exponent` is put behind it before it is read, so that it is rounded once.
fn parse_decimal(text: &str, exponent: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.len() <= 18;
    format!("{text}{exponent}").parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Range, UsageError> {
        parse_range("--warning x", Policy::entry(name).expect("an entry"), text)
    }

    #[test]
    fn the_whole_grammar_is_read() {
        let all = f64::INFINITY;
        for (text, alerts, start, end) in [
            ("10", Alerts::Outside, 0.0, 10.0),
            ("10:", Alerts::Outside, 10.0, all),
            (":10", Alerts::Outside, 0.0, 10.0),
            ("~:10", Alerts::Outside, -all, 10.0),
            ("10:20", Alerts::Outside, 10.0, 20.0),
            ("@10:20", Alerts::Inside, 10.0, 20.0),
            ("@10:", Alerts::Inside, 10.0, all),
            ("@10", Alerts::Inside, 0.0, 10.0),
            ("-5:5.5", Alerts::Outside, -5.0, 5.5),
            ("10:10", Alerts::Outside, 10.0, 10.0),
        ] {
            assert_eq!(read("stuck", text), Ok(Range::new(alerts, start, end).expect("a range")), "{text}");
        }
    }

    #[test]
    fn shares_and_times_have_their_units() {
        let end = |name, text| read(name, text).map(|range| range.upper_edge().expect("an end"));
        assert_eq!(end("ports", "80%"), Ok(8.0 / 10.0));
        assert_eq!(end("ports", "0.8"), Ok(8.0 / 10.0));
        assert_eq!(end("ports", "33.3%"), Ok(333.0 / 1000.0));
        assert_eq!(end("accept", "101%"), Ok(101.0 / 100.0));
        assert_eq!(read("eta", "7d:"), Ok(Range::below(604_800.0)));
        assert_eq!(read("coverage", "90%:"), Ok(Range::below(0.9)));
        assert_eq!(read("eta", "0:7d"), Ok(Range::new(Alerts::Outside, 0.0, 604_800.0).expect("a range")));
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_to_write() {
        for (name, text, what, hint) in [
            ("stuck", "", "not a range", "10 (alerts above 10)"),
            ("stuck", "@", "not a range", "10 (alerts above 10)"),
            ("stuck", "20:10", "begins beyond its end", "10:20"),
            ("stuck", "-5", "begins beyond its end", "-5:0"),
            ("stuck", "ten", "`ten` is not a number", "count"),
            ("stuck", "1e3", "`1e3` is not a number", "count"),
            ("stuck", "10%", "`10%` is not a number", "count"),
            ("stuck", "nan:", "`nan` is not a number", "count"),
            ("stuck", "1:2:3", "`2:3` is not a number", "count"),
            ("stuck", "1:~", "`~` is not a number", "count"),
            ("ports", "80", "`80` is not a share", "80% for percent"),
            ("ports", "x%", "`x%` is not a share", "80% or 0.8"),
            ("eta", "7d", "alone alerts above 7d", "`7d:`"),
            ("coverage", "@90%", "alone alerts above 90%", "`90%:`"),
            ("eta", "1y:", "`1y` is not a duration", "1d"),
            ("syn_sent", "10:", "does not grow worse", "@10:"),
        ] {
            let error = read(name, text).expect_err(text);
            assert!(error.message.contains(what) && error.hint.contains(hint), "{name}={text}: {error:?}");
        }
    }

    #[test]
    fn options_replace_levels_and_name_what_was_meant() {
        let asked = |warning: &str, critical: &str| {
            let texts = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let mut policy = Policy::default();
            ask(&mut policy, &texts(warning), &texts(critical)).map(|()| policy)
        };
        let policy = asked("ports=60% stuck=5", "ports=@90%:").expect("it makes sense");
        assert_eq!(policy.ports.critical, Some(Range::from(0.9)));
        assert!(policy.ports.asked && policy.stuck.asked && !policy.fds.asked);
        for (warning, critical, what, hint) in [
            ("stuk=5", "", "no metric `stuk`", "did you mean `stuck`?"),
            ("", "syn_sent=5", "no metric `syn_sent`", "--policy FILE sets syn_sent"),
            ("stuck", "", "has no `=`", "ports=60%"),
            ("ports=90%", "", "beyond the critical range, which is @80%: by default", "--critical ports=RANGE"),
            ("stuck=2000", "", "which is @1000: by default", "--critical stuck"),
        ] {
            let error = asked(warning, critical).expect_err(warning);
            assert!(error.message.contains(what) && error.hint.contains(hint), "{warning} {critical}: {error:?}");
        }
        assert!(asked("ports=90%", "ports=95%").is_ok() && asked("", "stuck=0").is_ok());
    }
}
