//! The pure core: from one look to all that a renderer may know.

use crate::attribution::Owners;
use crate::census::memory::{self, Seen};
use crate::census::{self, Census, Query};
use crate::diagnosis;
use crate::diagnosis::finding::{Finding, Verdict};
use crate::diagnosis::metrics::{self, Measured};
use crate::diagnosis::policy::Policy;
use crate::diagnosis::scene::Scene;
use crate::model::past::{HistoryNote, Memory, Past};
use crate::model::snapshot::Snapshot;
use crate::trend::forecast::{self, Forecast};

/// All that a renderer may know.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// What was asked.
    pub query: &'a Query,
    /// What was known of earlier looks; empty when there were none.
    pub past: &'a Past,
    /// What there is to say of the history; filled in by whoever keeps it.
    pub history: HistoryNote,
    /// By which thresholds it was judged.
    pub policy: &'a Policy,
    /// Who owns which socket.
    pub owners: Owners,
    /// What it counts to.
    pub census: Census,
    /// What this look leaves behind, when it was counted already: see [`Report::memory`].
    pub memory: Option<Memory>,
    /// What every number is to be expected to do, the nearest wall first; empty without earlier looks.
    pub forecasts: Vec<Forecast>,
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
pub fn build<'a>(snapshot: &'a Snapshot, query: &'a Query, past: &'a Past, policy: &'a Policy) -> Report<'a> {
    let (owners, census) = census::take(snapshot, query, past);
    let seen = Seen { snapshot, owners: &owners, query, census: &census, past };
    // Without a past there is nothing to compare with, and perhaps nobody to remember this look either.
    let memory = (!past.looks.is_empty()).then(|| memory::of(&seen));
    let forecasts = memory.as_ref().map_or_else(Vec::new, |memory| forecast::of(memory, past));
    let scene = Scene::new(snapshot, &census, &forecasts, policy);
    let findings = diagnosis::judge(&scene);
    let metrics = metrics::measure(&scene);
    let found = diagnosis::verdict(&findings);
    let headline = metrics::headline(&metrics, found).unwrap_or_else(|| diagnosis::headline(&scene, &findings));
    let verdict = found.max(metrics::verdict(&metrics));
    Report {
        snapshot,
        query,
        past,
        history: HistoryNote::default(),
        policy,
        owners,
        census,
        memory,
        forecasts,
        findings,
        metrics,
        verdict,
        headline,
    }
}

impl Report<'_> {
    /// What this look leaves behind for later ones.
    #[must_use]
    pub fn memory(&mut self) -> Memory {
        let Self { snapshot, owners, query, census, past, .. } = self;
        let memory = self.memory.take();
        let memory = memory.unwrap_or_else(|| memory::of(&Seen { snapshot, owners, query, census, past }));
        Memory { verdict: self.verdict.token().to_owned(), ..memory }
    }
}
