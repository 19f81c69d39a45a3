//! `closewatch doctor`: a look, of which only what it may see is told.

use std::time::Duration;

use anyhow::{Context, Result};

use super::exit::Exit;
use super::request::OutputRequest;
use super::{say, terminal};
use crate::capture::live::LiveHost;
use crate::capture::standing::read_standing;
use crate::capture::{Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource};
use crate::census::Query;
use crate::diagnosis::policy::Policy;
use crate::model::past::Past;
use crate::model::selection::Selection;
use crate::render;
use crate::report;

/// How long the look may take: as a check by default.
const LIMIT: Duration = Duration::from_secs(10);

/// Says what this user may see here; exits with 1 when something is hidden.
pub(super) fn doctor() -> Result<Exit> {
    let program = std::env::current_exe().context("finding out where closewatch is")?;
    let request = Request {
        netns: NetNsChoice::All,
        selection: Selection::default(),
        processes: ProcessChoice::Attribute,
        port_probe: PortProbeChoice::Bounds,
        deadline: Deadline::after(LIMIT),
    };
    let snapshot = LiveHost.take(&request)?;
    let policy = Policy::default();
    let query = Query {
        selection: Selection::default(),
        port_ranges: Vec::new(),
        stuck_after: policy.stuck_after,
        snat_limit: None,
    };
    let past = Past::default();
    let report = report::build(&snapshot, &query, &past, &policy);
    let page = terminal::page(&OutputRequest::for_people());
    let text = render::doctor::page(&report, &read_standing(), &program.to_string_lossy(), &page);
    say(text.as_bytes()).map(|done| if snapshot.gaps.is_empty() { done } else { Exit::Hidden })
}
