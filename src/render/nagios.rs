//! The report as the output of a monitoring plugin: one line with the verdict and the numbers, and long output below it.
//!
//! By the Monitoring Plugins Development Guidelines, sections "Plugin Output for Nagios" and "Performance data": a `|` begins
//! the numbers, so that none stands in the text; a number is `label=value[UOM];warn;crit;min`, the ranges in the unit of the
//! value; what is not known is `U`. Labels never depend on what runs on the host: whoever draws them keeps them for years.

use std::io::{self, Write};

use super::table::findings::hedged;
use super::{Detail, Page};
use crate::diagnosis::finding::{Finding, Rule, Severity, Unit, Verdict};
use crate::diagnosis::metrics::{Measured, Metric};
use crate::diagnosis::range::{Range, decimal};
use crate::model::text::printable;
use crate::model::wording::{count, counted};
use crate::render::history;
use crate::report::Report;

/// How long a first line may be to be shown whole on a pager, in characters, its numbers left out.
const SHORT: usize = 79;

/// More than this, in bytes, is cut by Nagios (`MAX_PLUGIN_OUTPUT_LENGTH`, 8 KiB with the byte at the end).
const MOST_BYTES: usize = 8_000;

/// How many findings and gaps are told in brief.
const TOLD: usize = 5;

/// Writes the report as plugins do.
///
/// # Errors
/// Those of `out`.
pub(super) fn render(report: &Report<'_>, page: &Page, out: &mut impl Write) -> io::Result<()> {
    let begin = format!("CLOSEWATCH {} - ", report.verdict.label());
    let text = brief(report, SHORT - begin.chars().count());
    let mut output = format!("{begin}{text} | {}\n", numbers(report));
    let lines = long_output(report, page.detail);
    for (nth, line) in lines.iter().enumerate() {
        let line = format!("{}\n", plain(line));
        let rest = format!("... and {}\n", counted((lines.len() - nth) as u64, "more line", "more lines"));
        if output.len() + line.len() + rest.len() > MOST_BYTES {
            output.push_str(&rest);
            break;
        }
        output.push_str(&line);
    }
    out.write_all(output.as_bytes())
}

/// One line in which nothing begins numbers and nothing ends the line. All of it has been made safe where it was made; this
/// holds it for words that are not names.
fn plain(text: &str) -> String {
    let is_safe = |c: char| !c.is_control() && c != '|';
    text.chars().map(|c| if is_safe(c) { c.to_string() } else { format!("\\u{{{:x}}}", u32::from(c)) }).collect()
}

/// What the verdict rests on, in so many characters: metrics where they are bad, a finding where none of them is, the main
/// numbers where nothing is.
fn brief(report: &Report<'_>, room: usize) -> String {
    let mut bad: Vec<&Measured> =
        report.metrics.iter().filter(|measured| measured.grade.is_some_and(|grade| grade > Verdict::Ok)).collect();
    bad.sort_by_key(|measured| std::cmp::Reverse(measured.grade));
    let tells_verdict = bad.first().is_some_and(|measured| measured.grade == Some(report.verdict));
    // The longest first, of which the first that fits is said.
    let said: Vec<String> = match report.verdict {
        _ if tells_verdict => [Whose::Told, Whose::OfFirst, Whose::Left].map(|whose| words(&bad, whose)).to_vec(),
        Verdict::Ok => {
            let calm = [Metric::Ports, Metric::Stuck].map(|metric| &report.metrics[metric as usize]);
            let sockets = counted(report.census.totals.total(), "socket", "sockets");
            vec![format!("{}, {sockets}", words(&calm, Whose::Left))]
        }
        _ => {
            let summary = report.findings.first().map_or("", |leading| &leading.summary);
            let sentences = [&report.headline, summary].into_iter();
            sentences.flat_map(|sentence| [sentence, clause(sentence)]).map(str::to_owned).collect()
        }
    };
    let coverage = partly_seen(report).filter(|_| !bad.iter().any(|measured| measured.metric == Metric::Coverage));
    let coverage = coverage.map_or_else(String::new, |share| format!(", {share}"));
    let room = room.saturating_sub(coverage.chars().count());
    let said: Vec<String> = said.iter().map(|text| plain(text)).collect();
    let fitting = said.iter().find(|text| text.chars().count() <= room).or(said.last());
    format!("{}{coverage}", cut(fitting.map_or("", String::as_str), room))
}

/// What a sentence says first.
fn clause(sentence: &str) -> &str {
    sentence.split("; ").next().unwrap_or(sentence)
}

/// Whether to say whose a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Told,
    OfFirst,
    Left,
}

fn words(metrics: &[&Measured], whose: Whose) -> String {
    let word = |(nth, measured): (usize, &&Measured)| {
        let is_told = whose == Whose::Told || whose == Whose::OfFirst && nth == 0;
        let owner = measured.whose.as_ref().filter(|_| is_told);
        let owner = owner.map_or_else(String::new, |owner| format!(" ({owner})"));
        format!("{} {}{owner}", measured.metric.entry().name, measured.value_in_words())
    };
    metrics.iter().enumerate().map(word).collect::<Vec<_>>().join(", ")
}

/// `coverage 30 %`, when less than everything was seen.
fn partly_seen(report: &Report<'_>) -> Option<String> {
    let coverage = &report.metrics[Metric::Coverage as usize];
    coverage.value.is_some_and(|share| share < 1.0).then(|| words(&[coverage], Whose::Left))
}

fn cut(text: &str, room: usize) -> String {
    const MORE: &str = "...";
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(MORE.len())).collect();
    format!("{}{MORE}", kept.trim_end())
}

/// The metrics, and how many sockets are in each state.
fn numbers(report: &Report<'_>) -> String {
    let metrics = report.metrics.iter().map(number);
    let totals = std::iter::once(("sockets", report.census.totals.total()));
    let states = report.census.totals.iter().map(|(state, count)| (state.token(), count));
    let counts = totals.chain(states).map(|(label, count)| format!("{label}={count};;;0"));
    metrics.chain(counts).collect::<Vec<_>>().join(" ")
}

fn number(measured: &Measured) -> String {
    let entry = measured.metric.entry();
    let (scale, unit) = match entry.unit {
        Unit::Ratio => (100.0, "%"),
        Unit::Seconds => (1.0, "s"),
        _ => (1.0, ""),
    };
    let range = |range: Option<Range>| range.map_or_else(String::new, |range| range.in_grammar(scale));
    let value = measured.value.map_or_else(|| "U".to_owned(), |value| format!("{}{unit}", decimal(value * scale)));
    format!("{}={value};{};{};0", entry.name, range(measured.levels.warning), range(measured.levels.critical))
}

/// The lines below the first: the headline, what was found and what to do, what was not seen.
fn long_output(report: &Report<'_>, detail: Detail) -> Vec<String> {
    let mut lines = vec![report.headline.clone()];
    // Gaps are told once, at the end.
    let findings: Vec<&Finding> = report.findings.iter().filter(|finding| finding.rule != Rule::Coverage).collect();
    let shown = if detail == Detail::Full { findings.len() } else { TOLD.min(findings.len()) };
    for (nth, finding) in findings[..shown].iter().enumerate() {
        lines.extend(told(finding, detail, nth == 0));
    }
    if shown < findings.len() {
        let more = counted((findings.len() - shown) as u64, "more finding", "more findings");
        lines.push(format!("... and {more} (-v shows them)"));
    }
    let is_told = |measured: &&Measured| {
        let is_bad = measured.grade.is_some_and(|grade| grade > Verdict::Ok);
        detail == Detail::Full || is_bad || measured.levels.asked && measured.unseen.is_some()
    };
    for measured in report.metrics.iter().filter(is_told) {
        let grade = measured.grade.map_or("not graded", |grade| grade.label());
        lines.push(format!("{grade} {}", measured.sentence()));
    }
    lines.extend(unseen(report, detail));
    lines.extend(history::told(report));
    lines
}

/// In brief, only the leading finding says what to do: the others often have the same cure.
fn told(finding: &Finding, detail: Detail, is_leading: bool) -> Vec<String> {
    let mut lines = vec![format!("{} {}: {}", finding.severity.label(), finding.rule.token(), hedged(finding))];
    if detail == Detail::Full {
        lines.extend(finding.details.iter().map(|detail| format!("  {detail}")));
    }
    if detail == Detail::Full || is_leading && finding.severity > Severity::Info {
        lines.extend(finding.remedies.iter().map(|remedy| {
            let command = remedy.command.as_ref().map_or_else(String::new, |command| format!(": {command}"));
            format!("  {}: {}{command}", remedy.when.token(), remedy.text)
        }));
    }
    if detail == Detail::Full {
        lines.extend(finding.will_not_help.iter().map(|futile| format!("  no: {futile}")));
    }
    lines
}

fn unseen(report: &Report<'_>, detail: Detail) -> Vec<String> {
    let (coverage, gaps) = (report.census.coverage, &report.snapshot.gaps);
    let mut lines = vec![format!(
        "seen: {} in {}, {} of {} with their holder",
        counted(coverage.sockets, "socket", "sockets"),
        counted(report.snapshot.namespaces.len() as u64, "namespace", "namespaces"),
        count(coverage.attributed),
        count(coverage.attributable)
    )];
    let shown = if detail == Detail::Full { gaps.len() } else { TOLD.min(gaps.len()) };
    lines.extend(
        gaps[..shown].iter().map(|gap| format!("not seen: {} ({})", printable(&gap.what), printable(&gap.why))),
    );
    if shown < gaps.len() {
        let more = counted((gaps.len() - shown) as u64, "more thing was", "more things were");
        lines.push(format!("... and {more} not seen (-v shows them)"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_numbers_or_ends_the_line() {
        assert_eq!(plain("a|b\nc\u{1b}d ü"), "a\\u{7c}b\\u{a}c\\u{1b}d ü");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        assert_eq!(cut("exactly", 7), "exactly");
        assert_eq!(cut("one too many", 11), "one too...");
        assert_eq!(cut("größer als", 9), "größer...");
    }
}
