//! The top of the page: the verdict, the leading finding in full, the others in brief.

use std::time::Duration;

use super::sheet::{STRONG, Sheet, of_severity, of_verdict, rows_shown};
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Rule, Severity, Unit};
use crate::model::wording::{count, percent, span};
use crate::render::Detail;
use crate::report::Report;

/// Where sentences of a finding begin.
const INDENT: usize = 2;
/// Where the text after the severity of a finding in brief begins.
const BRIEF: usize = 12;
/// Where the text after `now`, `soon`, `fix` and `no` begins, seen from the label.
const REMEDY: usize = 6;

/// Writes the verdict, its headline and the findings.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let word = report.verdict.label();
    sheet.labelled((0, 0), (word, of_verdict(report.verdict)), &report.headline);
    let mut findings = report.findings.iter().peekable();
    if let Some(leading) = findings.next_if(|finding| finding.severity > Severity::Info) {
        sheet.blank();
        write_in_full(leading, &report.headline, sheet);
    }
    // Gaps that leave the verdict as it is are told once, under COVERAGE.
    let told_below = |finding: &&Finding| finding.rule == Rule::Coverage && finding.severity == Severity::Info;
    let others: Vec<&Finding> = findings.filter(|finding| !told_below(finding)).collect();
    if !others.is_empty() {
        sheet.blank();
        let shown = rows_shown(sheet.page(), others.len());
        for finding in &others[..shown] {
            write_in_brief(finding, sheet);
        }
        if shown < others.len() {
            sheet.sentence(INDENT, &format!("… and {} more findings (-v shows them)", others.len() - shown));
        }
    }
}

fn write_in_full(finding: &Finding, headline: &str, sheet: &mut Sheet) {
    // The headline often is the summary, and something more.
    if !headline.starts_with(finding.summary.trim_end_matches('.')) {
        sheet.sentence(INDENT, &hedged(finding));
    }
    write_body(finding, INDENT, sheet);
}

fn write_in_brief(finding: &Finding, sheet: &mut Sheet) {
    let severity = finding.severity.label();
    let style = of_severity(finding.severity);
    sheet.labelled((INDENT, BRIEF), (severity, style), &hedged(finding));
    if sheet.page().detail == Detail::Full {
        write_body(finding, BRIEF, sheet);
        sheet.blank();
    }
}

fn write_body(finding: &Finding, indent: usize, sheet: &mut Sheet) {
    for detail in &finding.details {
        sheet.sentence(indent, detail);
    }
    if sheet.page().detail == Detail::Full {
        let seen: Vec<String> = finding.evidence.iter().map(evidence).collect();
        let confidence = finding.confidence.token();
        sheet.sentence(indent, &format!("({}, {confidence}: {})", finding.rule.token(), seen.join(", ")));
    }
    if !(finding.remedies.is_empty() && finding.will_not_help.is_empty()) {
        sheet.blank();
    }
    for remedy in &finding.remedies {
        sheet.labelled((indent, indent + REMEDY), (remedy.when.token(), STRONG), &remedy.text);
        if let Some(command) = &remedy.command {
            sheet.verbatim(indent + REMEDY + 2, command);
        }
    }
    for futile in &finding.will_not_help {
        sheet.labelled((indent, indent + REMEDY), ("no", STRONG), futile);
    }
}

/// The summary, with how sure it is when that is less than certain.
pub(in crate::render) fn hedged(finding: &Finding) -> String {
    match finding.confidence {
        Confidence::Certain => finding.summary.clone(),
        Confidence::Likely => format!("{} (likely)", finding.summary),
        Confidence::Hint => format!("{} (one explanation among several)", finding.summary),
    }
}

fn evidence(evidence: &Evidence) -> String {
    let observed = evidence.observed.map_or_else(|| "unknown".to_owned(), |value| quantity(value, evidence.unit));
    match evidence.threshold {
        Some(threshold) => format!("{} {observed} against {}", evidence.name, quantity(threshold, evidence.unit)),
        None => format!("{} {observed}", evidence.name),
    }
}

/// A measured value in its unit.
pub(in crate::render) fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ratio => percent(value),
        Unit::Seconds => Duration::try_from_secs_f64(value).map_or_else(|_| value.to_string(), span),
        Unit::Bytes => format!("{} bytes", count(value as u64)),
        Unit::Sockets | Unit::Ports | Unit::Descriptors | Unit::Count => count(value as u64),
    }
}
