//! The connection tracking table of a namespace against the limit of the host: when it is full, new connections hang.

use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Subject, Unit, When};
use crate::diagnosis::scene::{Scene, share};
use crate::model::snapshot::{Namespace, Usage};
use crate::model::socket::NetNsIndex;
use crate::model::wording::{count, percent};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let namespaces = scene.snapshot.namespaces.iter().zip(0..);
    namespaces.filter_map(|(namespace, index)| judge_one(scene, namespace, NetNsIndex(index))).collect()
}

fn judge_one(scene: &Scene<'_>, namespace: &Namespace, netns: NetNsIndex) -> Option<Finding> {
    let Usage { used, limit } = namespace.conntrack?;
    // No limit (kernel __nf_conntrack_alloc).
    if limit == 0 {
        return None;
    }
    let ratio = share(used, limit);
    let severity = scene.policy.conntrack.grade(ratio)?;
    let doubled = limit.checked_mul(2).map(|limit| format!("sysctl -w net.netfilter.nf_conntrack_max={limit}"));
    Some(Finding {
        rule: Rule::Conntrack,
        severity,
        confidence: Confidence::Certain,
        subject: Subject::Namespace(netns),
        summary: format!(
            "connection tracking{}: {} of {} entries ({})",
            scene.place(netns),
            count(used),
            count(limit),
            percent(ratio)
        ),
        details: vec![
            "When the table is full the first packet of every new connection is dropped: connect() hangs and times out, which \
             looks like a dead peer."
                .to_owned(),
        ],
        evidence: vec![
            Evidence::ratio("conntrack_ratio", ratio, scene.policy.conntrack.of(severity)),
            Evidence::count("conntrack_entries", used, None, Unit::Count),
            Evidence::count("conntrack_max", limit, None, Unit::Count),
        ],
        remedies: vec![
            Remedy::new(When::Soon, "raise the limit (of the whole host; an entry takes about 300 bytes)").with(doubled),
            Remedy::new(
                When::Fix,
                "find what fills it (conntrack -L), shorten nf_conntrack_tcp_timeout_established and _close_wait, or exempt \
                 traffic that needs no tracking (NOTRACK)",
            ),
        ],
        will_not_help: vec!["closing sockets does not empty the table at once: entries end by their own timeouts".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::finding::Severity;
    use crate::diagnosis::scripted::Script;

    #[test]
    fn a_table_that_is_nearly_full_is_told() {
        let mut script = Script::new();
        script.namespace().conntrack = Some(Usage { used: 250_000, limit: 262_144 });
        let finding = script.only(Rule::Conntrack);
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(finding.summary, "connection tracking: 250,000 of 262,144 entries (95 %)");
        assert_eq!(finding.remedies[0].command.as_deref(), Some("sysctl -w net.netfilter.nf_conntrack_max=524288"));
    }

    #[test]
    fn a_table_with_room_and_no_table_are_no_finding() {
        let mut script = Script::new();
        script.none(Rule::Conntrack);
        script.namespace().conntrack = Some(Usage { used: 100_000, limit: 262_144 });
        script.none(Rule::Conntrack);
        script.namespace().conntrack = Some(Usage { used: 100_000, limit: 0 });
        script.none(Rule::Conntrack);
    }
}
