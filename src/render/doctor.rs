//! What this user may see here, what is hidden and why, and the line that would show it.

use super::Page;
use super::table::sheet::{STRONG, Sheet};
use super::words::hides_phrase;
use crate::model::snapshot::Gap;
use crate::model::standing::{REVEALING, Standing};
use crate::model::text::{printable, shell_word};
use crate::model::wording::{count, counted};
use crate::report::Report;

/// The page. `program` is the path of the program.
#[must_use]
pub fn page(report: &Report<'_>, standing: &Standing, program: &str, page: &Page) -> String {
    let mut sheet = Sheet::new(page);
    sheet.statements("RUNS AS", &[who(standing)]);
    sheet.statements("SEES", &[seen(report)]);
    let gaps = &report.snapshot.gaps;
    if gaps.is_empty() {
        sheet.statements("HIDDEN", &["nothing".to_owned()]);
        return sheet.into_text();
    }
    let hidden = |gap: &Gap| format!("{} ({}): {}", printable(&gap.what), printable(&gap.why), hides_phrase(gap.hides));
    sheet.statements("HIDDEN", &gaps.iter().map(hidden).collect::<Vec<_>>());
    sheet.blank();
    match missing(gaps, standing) {
        missing if missing.is_empty() => sheet.statements("TO SEE MORE", &["no capability would show more".to_owned()]),
        missing => remedy(&mut sheet, &missing, standing, program),
    }
    sheet.into_text()
}

fn who(standing: &Standing) -> String {
    let user = standing.user.as_ref().map_or_else(|| "user".to_owned(), |user| printable(user).into_owned());
    let rights = match standing.held.as_slice() {
        [] => "without a capability that shows more".to_owned(),
        held => format!("with {}", held.join(", ")),
    };
    let void = if standing.no_new_privileges { "; no_new_privs is set: capabilities of files are void" } else { "" };
    format!("{user} ({}), {rights}{void}", standing.uid)
}

fn seen(report: &Report<'_>) -> String {
    let coverage = report.census.coverage;
    format!(
        "{} in {}; the holder of {} of {}",
        counted(coverage.sockets, "socket", "sockets"),
        counted(report.snapshot.namespaces.len() as u64, "network namespace", "network namespaces"),
        count(coverage.attributed),
        count(coverage.attributable)
    )
}

/// The capabilities that gaps name, in the order in which they matter.
fn missing(gaps: &[Gap], standing: &Standing) -> Vec<&'static str> {
    let is_named = |name: &str| gaps.iter().any(|gap| gap.lacks_permission() && gap.why.contains(name));
    let names = REVEALING.iter().map(|(name, _)| *name);
    names.filter(|name| is_named(name) && !standing.held.contains(name)).collect()
}

fn remedy(sheet: &mut Sheet, missing: &[&str], standing: &Standing, program: &str) {
    let word = shell_word(program);
    // Setting capabilities of a file replaces those that it has.
    let all: Vec<&str> = REVEALING
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| missing.contains(name) || standing.held.contains(name))
        .collect();
    sheet.statements("TO SEE MORE", &["run it as root, or give the program what is missing:".to_owned()]);
    for (name, shows) in REVEALING.iter().filter(|(name, _)| missing.contains(name)) {
        sheet.labelled((2, 24), (name, STRONG), shows);
    }
    sheet.blank();
    if printable(program) == program {
        sheet.verbatim(2, &format!("chown root:GROUP {word} && chmod 0750 {word}"));
        sheet.verbatim(2, &format!("setcap {}+ep {word}", all.join(",").to_lowercase()));
    }
    sheet.sentence(
        2,
        "GROUP is that of your monitoring: with these capabilities whoever may run the program sees the descriptors of everybody \
         through it. They are lost by cp, strip, chown and upgrades, and void on a file system that is mounted with nosuid.",
    );
    sheet.blank();
    sheet.sentence(2, "In a systemd unit, which then needs nothing of the file:");
    for setting in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        sheet.verbatim(2, &format!("{setting}={}", all.join(" ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::Hides;

    fn gap(why: &str) -> Gap {
        Gap { what: "x".to_owned(), why: why.to_owned(), hides: Hides::Owners, count: 1 }
    }

    fn standing(held: &[&'static str]) -> Standing {
        Standing { uid: 103, user: None, held: held.to_vec(), no_new_privileges: false }
    }

    #[test]
    fn what_is_missing_is_what_gaps_name_and_is_not_held() {
        let gaps =
            [gap("permission denied; needs CAP_SYS_PTRACE and CAP_SYS_ADMIN"), gap("CAP_DAC_READ_SEARCH is held")];
        assert_eq!(missing(&gaps, &standing(&[])), ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]);
        assert_eq!(missing(&gaps, &standing(&["CAP_SYS_PTRACE"])), ["CAP_SYS_ADMIN"]);
        assert_eq!(missing(&gaps[1..], &standing(&[])), [""; 0]);
    }
}
