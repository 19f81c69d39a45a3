//! Who closes the connection? Every way in which an HTTP/1 exchange can end, made at once, and the states of both ends read
//! from the kernel at each moment of it.
//!
//! On a loopback a FIN is acknowledged within microseconds, and FIN-WAIT-1 and LAST-ACK are over before anybody can look.
//! So the loopback, which is the probe's own, is taken down while a FIN is sent, and up again when that was seen: the kernel
//! sends it again, as it would on any network that has lost it.

pub mod rows;
mod wires;

use std::time::{Duration, Instant};

use serde::Serialize;

use self::rows::{Ends, Moment, N_MOMENTS, Row, Sequence};
use self::wires::Wire;
use super::isolation::{Link, set_loopback};
use super::outcome::{Outcome, Step, Steps};
use super::scenario::End;
use super::{ProbeError, Stage};
use crate::model::snapshot::Snapshot;
use crate::model::socket::Timer;
use crate::model::state::TcpState;
use crate::model::tuple::Endpoint;

/// What was seen, row by row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// All rows, impossible ones too.
    pub rows: Vec<Shown>,
}

/// A row and what was seen of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Which exchange, and what became of the body.
    #[serde(flatten)]
    pub row: Row,
    /// Who may close, by the standards: the same for all rows of one version and framing.
    pub rule: &'static str,
    /// What to learn from it, in one sentence.
    pub sentence: String,
    /// Why there is no such exchange; nothing was seen of it then.
    pub impossible: Option<&'static str>,
    /// The client's end at each [`Moment`]; `None` when no table has it any more.
    pub client: Vec<Option<&'static str>>,
    /// The server's end.
    pub server: Vec<Option<&'static str>>,
    /// How long the TIME-WAIT at the end was to last from then on, milliseconds: 2 MSL are 60,000 in Linux.
    pub time_wait_left_ms: Option<u32>,
}

/// So long is waited for states to come: a lost FIN is sent again after 200 ms and then after twice that.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const GLANCE_EVERY: Duration = Duration::from_millis(20);

/// Makes every possible exchange in the network namespace that this process is in, which must be its own: see
/// [`super::isolation::isolate`].
///
/// # Errors
/// [`ProbeError`].
pub fn run(stage: &Stage<'_>) -> Result<Outcome<Figures>, ProbeError> {
    let mut seen = Vec::new();
    for row in Row::all() {
        let wire = if row.exchange().impossible().is_some() { None } else { Some(Wire::make(row)?) };
        seen.push(Watched { row, wire, moments: Vec::new(), time_wait_left_ms: None });
    }
    for moment in Moment::ALL {
        pass_through(stage, &mut seen, moment)?;
    }
    let mut steps = Steps::told_to(stage.tell);
    let rows = seen.iter().map(Watched::show).collect();
    seen.iter().filter(|watched| watched.wire.is_some()).for_each(|watched| steps.add(watched.step()));
    Ok(Outcome::of("matrix", steps, Figures { rows }))
}

/// A row while it is made.
struct Watched {
    row: Row,
    /// `None` for what cannot be.
    wire: Option<Wire>,
    moments: Vec<Ends>,
    time_wait_left_ms: Option<u32>,
}

/// Does in every row what is done at this moment, and looks when that is to be seen.
fn pass_through(stage: &Stage<'_>, seen: &mut [Watched], moment: Moment) -> Result<(), ProbeError> {
    if let Some(signal) = stage.stop.came() {
        return Err(ProbeError::Stopped(signal.as_str()));
    }
    let cut = matches!(moment, Moment::FirstFin | Moment::SecondFin);
    if cut {
        link(Link::Down)?;
    }
    let acted = seen.iter_mut().try_for_each(|watched| watched.act(moment));
    let began_at = Instant::now();
    let look = || stage.snapshot();
    let mut snapshot = look()?;
    while !seen.iter().all(|watched| watched.is_as_expected(&snapshot, moment)) && began_at.elapsed() < SETTLES_WITHIN {
        std::thread::sleep(GLANCE_EVERY);
        snapshot = look()?;
    }
    seen.iter_mut().for_each(|watched| watched.note(&snapshot));
    if cut {
        link(Link::Up)?;
    }
    acted
}

fn link(link: Link) -> Result<(), ProbeError> {
    set_loopback(link).map_err(|error| ProbeError::SetUp { what: "the loopback", error })
}

impl Watched {
    fn act(&mut self, moment: Moment) -> Result<(), ProbeError> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        wire.act(&self.row, moment)
    }

    fn is_as_expected(&self, snapshot: &Snapshot, moment: Moment) -> bool {
        let Some(wire) = &self.wire else { return true };
        states_of(snapshot, wire) == self.row.expected()[moment as usize]
    }

    fn note(&mut self, snapshot: &Snapshot) {
        let Some(wire) = &self.wire else { return };
        self.moments.push(states_of(snapshot, wire));
        self.time_wait_left_ms =
            snapshot.sockets.iter().filter(|socket| wire.is_end(&socket.tuple)).find_map(|socket| {
                match (socket.state, socket.timer) {
                    (TcpState::TimeWait, Timer::TimeWait(left_ms)) => Some(left_ms),
                    _ => None,
                }
            });
    }

    fn show(&self) -> Shown {
        let token = |end: fn(&Ends) -> Option<TcpState>| {
            self.moments.iter().map(|moment| end(moment).map(TcpState::token)).collect()
        };
        Shown {
            row: self.row,
            rule: self.row.rule(),
            sentence: self.row.sentence(),
            impossible: self.row.exchange().impossible(),
            client: token(|(client, _)| *client),
            server: token(|(_, server)| *server),
            time_wait_left_ms: self.time_wait_left_ms,
        }
    }

    fn step(&self) -> Step {
        let expected: Sequence = self.row.expected();
        Step {
            name: self.row.name().into(),
            expected: in_words(&expected),
            observed: in_words(&self.moments),
            ok: self.moments == expected,
        }
    }
}

/// The states of both ends.
fn states_of(snapshot: &Snapshot, wire: &Wire) -> Ends {
    let state = |local: Endpoint, remote: Endpoint| {
        let found = snapshot.sockets.iter().find(|socket| socket.tuple.local == local && socket.tuple.remote == remote);
        found.map(|socket| socket.state)
    };
    (state(wire.client_end, wire.server_end), state(wire.server_end, wire.client_end))
}

/// `client ESTAB, CLOSE-WAIT, LAST-ACK, closed; server …`: each state once while it lasts.
fn in_words(moments: &[Ends]) -> String {
    let end = |end: End| {
        let states = moments.iter().map(|(client, server)| if end == End::Client { *client } else { *server });
        let mut labels: Vec<&str> = states.map(|state| state.map_or("closed", TcpState::label)).collect();
        labels.dedup();
        labels.join(", ")
    };
    format!("client {}; server {}", end(End::Client), end(End::Server))
}

const _: () = assert!(Moment::ALL.len() == N_MOMENTS);
