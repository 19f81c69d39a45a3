//! The pure core: from one look to all that a renderer may know.

use crate::attribution::{self, Owners};
use crate::census::{self, Census, Query};
use crate::diagnosis;
use crate::diagnosis::finding::{Finding, Verdict};
use crate::diagnosis::metrics::{self, Measured};
use crate::diagnosis::policy::Policy;
use crate::model::snapshot::Snapshot;

/// All that a renderer may know.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// What was asked.
    pub query: &'a Query,
    /// By which thresholds it was judged.
    pub policy: &'a Policy,
    /// Who owns which socket.
    pub owners: Owners,
    /// What it counts to.
    pub census: Census,
    /// What was found, the most urgent first.
    pub findings: Vec<Finding>,
    /// Every metric, measured and graded.
    pub metrics: Vec<Measured>,
    /// The overall grade: the worst of the findings and of the metrics.
    pub verdict: Verdict,
    /// One sentence that says it all, safe to print.
    pub headline: String,
}

/// Counts, judges and words one look. It cannot fail: what is missing is a value of its own.
#[must_use]
pub fn build<'a>(snapshot: &'a Snapshot, query: &'a Query, policy: &'a Policy) -> Report<'a> {
    let owners = attribution::join(snapshot);
    let census = census::take(snapshot, &owners, query);
    let findings = diagnosis::judge(snapshot, &census, policy);
    let metrics = metrics::measure(snapshot, &census, policy);
    let found = diagnosis::verdict(&findings);
    let headline =
        metrics::headline(&metrics, found).unwrap_or_else(|| diagnosis::headline(snapshot, &census, policy, &findings));
    let verdict = found.max(metrics::verdict(&metrics));
    Report { snapshot, query, policy, owners, census, findings, metrics, verdict, headline }
}
