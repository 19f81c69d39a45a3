//! How long others are waited for: the time of a check is bounded, and waiting is part of it.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::fault::Fault;

/// How long others are waited for at each step: a hundred looks that are written at once take a second or two.
const EACH: Duration = Duration::from_secs(5);

/// How long others are waited for, at each step and in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// When it ends, however much of a step's is left; `None` when there is no such moment.
    until: Option<Instant>,
}

impl Patience {
    /// That of one who must be done by this moment, if there is one.
    pub(super) fn until(moment: Option<Instant>) -> Self {
        Self { until: moment }
    }

    /// For how long the step that begins now may wait.
    pub(super) fn left(self) -> Duration {
        self.until.map_or(EACH, |until| until.saturating_duration_since(Instant::now()).min(EACH))
    }

    /// Lets what is done next with this connection wait for so long. SQLite counts anew for each lock that it waits for.
    pub(super) fn grant(self, connection: &Connection) -> Result<(), Fault> {
        Ok(connection.busy_timeout(self.left())?)
    }
}

/// What is said of having waited so long.
pub(super) fn words(waited: Duration) -> String {
    if waited < Duration::from_millis(100) {
        "others are using it, and there was no time to wait".to_owned()
    } else {
        format!("others have been using it for {:.1} s", waited.as_secs_f64())
    }
}
