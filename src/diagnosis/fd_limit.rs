//! A process, or the whole host, that comes near its limit of descriptors.

use crate::census::ProcessCensus;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, share};
use crate::model::snapshot::Usage;
use crate::model::wording::{count, counted, percent};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let processes = scene.census.processes.iter().filter_map(|seen| judge_process(scene, seen));
    let host = scene.snapshot.limits.files.and_then(|files| judge_host(scene, files));
    processes.chain(host).collect()
}

fn judge_process(scene: &Scene<'_>, seen: &ProcessCensus) -> Option<Finding> {
    let process = scene.process(seen.process)?;
    let (open, limit) = process.fds_open.zip(process.fds_limit)?;
    let severity = scene.policy.fds.grade(share(open, limit))?;
    let close_wait = seen.close_wait.count;
    let mut details = vec![format!(
        "Of the descriptors {} {} in CLOSE-WAIT.",
        count(close_wait),
        if close_wait == 1 { "is a socket" } else { "are sockets" }
    )];
    if open >= limit {
        details.push("Calls that need a new descriptor fail: socket(), accept(), open(), with EMFILE.".to_owned());
    }
    let cause = if close_wait * 2 >= open {
        "mend the leak: the CLOSE-WAIT sockets hold most of the descriptors"
    } else {
        "look what the descriptors are (ls -l /proc/PID/fd) and close what is not needed, or set the limit by what is"
    };
    Some(Finding {
        rule: Rule::FdLimit,
        severity,
        confidence: Confidence::Certain,
        subject: Subject::Process(seen.process),
        summary: format!(
            "{}: {} of {} open ({})",
            scene.who_and_where(seen.process),
            count(open),
            counted(limit, "descriptor", "descriptors"),
            percent(share(open, limit))
        ),
        details,
        evidence: evidence(scene, Usage { used: open, limit }, severity),
        remedies: vec![remedy::raise_descriptors(scene, seen.process), Remedy::new(When::Fix, cause)],
        will_not_help: vec!["destroying sockets (ss -K) frees ports, never descriptors".to_owned()],
    })
}

fn judge_host(scene: &Scene<'_>, files: Usage) -> Option<Finding> {
    let severity = scene.policy.fds.grade(share(files.used, files.limit))?;
    let doubled = files.limit.checked_mul(2).map(|limit| format!("sysctl -w fs.file-max={limit}"));
    Some(Finding {
        rule: Rule::FdLimit,
        severity,
        confidence: Confidence::Certain,
        subject: Subject::Host,
        summary: format!(
            "the host: {} of {} open files (fs.file-max, {})",
            count(files.used),
            count(files.limit),
            percent(share(files.used, files.limit))
        ),
        details: vec!["At the limit every open() and socket() without CAP_SYS_ADMIN fails with ENFILE.".to_owned()],
        evidence: evidence(scene, files, severity),
        remedies: vec![Remedy::new(When::Soon, "raise the limit of the host").with(doubled)],
        will_not_help: vec!["raising RLIMIT_NOFILE of a process does not raise the limit of the host".to_owned()],
    })
}

fn evidence(scene: &Scene<'_>, files: Usage, severity: Severity) -> Vec<Evidence> {
    vec![
        Evidence::ratio("fds_ratio", share(files.used, files.limit), scene.policy.fds.of(severity)),
        Evidence::count("fds_open", files.used, None, Unit::Descriptors),
        Evidence::count("fds_limit", files.limit, None, Unit::Descriptors),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::Script;

    #[test]
    fn a_process_near_its_limit_is_named() {
        let mut script = Script::new();
        let process = script.process("telegraf", 1234);
        script.unit(process, "telegraf.service");
        script.fds(process, 930, Some(1024));
        let finding = script.only(Rule::FdLimit);
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(finding.summary, "telegraf[1234] (telegraf.service): 930 of 1,024 descriptors open (90 %)");
        assert_eq!(finding.remedies[0].command.as_deref(), Some("prlimit --pid 1234 --nofile=2048"));
        assert!(finding.remedies[0].text.contains("LimitNOFILE= in telegraf.service"));
    }

    #[test]
    fn room_to_spare_no_limit_and_an_unread_one_are_no_finding() {
        let mut script = Script::new();
        let process = script.process("telegraf", 1234);
        for (open, limit) in [(700, Some(1024)), (1_000_000, Some(u64::MAX)), (1_000_000, None)] {
            script.fds(process, open, limit);
            script.none(Rule::FdLimit);
        }
    }

    #[test]
    fn a_host_near_its_limit_of_files_is_told() {
        let mut script = Script::new();
        script.snapshot.limits.files = Some(Usage { used: 75, limit: 100 });
        let finding = script.only(Rule::FdLimit);
        assert_eq!((finding.severity, finding.subject.clone()), (Severity::Warning, Subject::Host));
        assert_eq!(finding.summary, "the host: 75 of 100 open files (fs.file-max, 75 %)");
    }
}
