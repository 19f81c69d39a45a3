//! What a probe has shown, step by step: `closewatch.probe/1`.

use std::borrow::Cow;

use serde::Serialize;

/// The name of the document.
const SCHEMA: &str = "closewatch.probe/1";

/// One step: what had to be seen and what was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// A name for it: a word, or what exactly was done.
    pub name: Cow<'static, str>,
    /// What had to be seen.
    pub expected: String,
    /// What was.
    pub observed: String,
    /// Whether that is the same.
    pub ok: bool,
}

/// What a whole probe has shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome<T> {
    /// `closewatch.probe/1`.
    schema: &'static str,
    /// The version of the program.
    version: &'static str,
    /// Which probe.
    pub scenario: &'static str,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Whether every step was seen.
    pub confirmed: bool,
    /// What this probe measured beside that.
    #[serde(flatten)]
    pub figures: T,
}

impl<T> Outcome<T> {
    /// The outcome of these steps.
    pub(super) fn of(scenario: &'static str, steps: Steps<'_>, figures: T) -> Self {
        let steps = steps.done;
        let confirmed = steps.iter().all(|step| step.ok);
        Self { schema: SCHEMA, version: env!("CARGO_PKG_VERSION"), scenario, steps, confirmed, figures }
    }
}

/// The steps while they are made; each is told when it is.
pub(super) struct Steps<'a> {
    tell: &'a dyn Fn(&str),
    done: Vec<Step>,
}

impl<'a> Steps<'a> {
    pub(super) fn told_to(tell: &'a dyn Fn(&str)) -> Self {
        Self { tell, done: Vec::new() }
    }

    /// Adds a step whose expectation and observation are words; they are the same exactly when they read the same.
    pub(super) fn compare(&mut self, name: &'static str, expected: impl Into<String>, observed: impl Into<String>) {
        let (expected, observed) = (expected.into(), observed.into());
        let ok = expected == observed;
        self.add(Step { name: name.into(), expected, observed, ok });
    }

    /// Adds a step.
    pub(super) fn add(&mut self, step: Step) {
        let Step { name, expected, observed, ok } = &step;
        (self.tell)(&match ok {
            true => format!("  ok      {name}: {observed}"),
            false => format!("  NOT OK  {name}: expected {expected}; seen: {observed}"),
        });
        self.done.push(step);
    }
}
