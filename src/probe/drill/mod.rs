//! The whole alarm path, step by step: quiet, a leak, an alarm that names it, the cure, quiet again.
//!
//! The alarm is a program of its own, run as whoever watches this host would run it: `closewatch check`, or any command.

mod alarm;
mod evidence;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::alarm::{Answer, Mood};
use self::evidence::Suspect;
use super::budget::{self, Wish, connections_per_worker};
use super::crew::{Crew, MemberId};
use super::herd::Herd;
use super::http::BODY_BYTES;
use super::message::{ClientPlan, Role, Said, ServerPlan};
use super::outcome::{Outcome, Step, Steps};
use super::scenario::{End, Exchange, Framing, HttpVersion, Variant};
use super::{ProbeError, Stage};
use crate::model::tuple::Endpoint;
use crate::model::wording::{count, span};

/// What is drilled, and how patiently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillPlan {
    /// The alarm.
    pub alarm: Alarm,
    /// How many connections are leaked.
    pub count: u32,
    /// How long may pass until the alarm is heard, and until it is quiet again.
    pub within: Duration,
    /// How much time lies between the end of one asking and the next.
    pub every: Duration,
    /// Whether the network namespace is the probe's own.
    pub isolated: bool,
}

/// Who is asked whether there is trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// `closewatch check` on the processes of the drill.
    Check(CheckOptions),
    /// A command of the operator's, for a shell.
    Command {
        /// The command.
        command: String,
        /// What its output holds when there is trouble; `None` where its status tells.
        expect: Option<String>,
    },
}

/// What is handed to `closewatch check`, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// `--stuck-after`.
    pub stuck_after: Option<String>,
    /// `--warning`.
    pub warning: Vec<String>,
    /// `--critical`.
    pub critical: Vec<String>,
    /// `--policy`.
    pub policy: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// The process that held the leak.
    pub pid: u32,
    /// The server that it leaked connections to.
    pub destination: String,
    /// From the last connection to the alarm; `None` when it was not heard.
    pub time_to_detect_s: Option<f64>,
    /// From the last close to quiet; `None` when the alarm went on.
    pub time_to_recover_s: Option<f64>,
}

const EXCHANGE: Exchange =
    Exchange { version: HttpVersion::V11, framing: Framing::ContentLength, closes_first: End::Server };

/// Drills the alarm.
///
/// # Errors
/// [`ProbeError`]. An alarm that is not heard is no error: a step tells.
pub fn run(stage: &Stage<'_>, plan: &DrillPlan) -> Result<Outcome<Figures>, ProbeError> {
    let mut steps = Steps::told_to(stage.tell);
    let mut scene = Scene::set(stage, plan)?;
    let healthy = scene.ask()?;
    steps.add(Step {
        name: "healthy".into(),
        expected: "quiet".to_owned(),
        observed: healthy.words.clone(),
        ok: healthy.mood == Mood::Quiet,
    });
    let leaked_at = scene.leak(&mut steps)?;
    let alarm = scene.wait_for(Mood::Trouble, leaked_at)?;
    let time_to_detect_s = scene.note_detection(&mut steps, &alarm);
    let cured_at = scene.cure(&mut steps)?;
    let quiet = scene.wait_for(Mood::Quiet, cured_at)?;
    let time_to_recover_s = note(&mut steps, Mood::Quiet, plan.within, &quiet);
    let figures =
        Figures { pid: scene.suspect.pid, destination: scene.server.to_string(), time_to_detect_s, time_to_recover_s };
    Ok(Outcome::of("drill", steps, figures))
}

struct Scene<'a> {
    stage: &'a Stage<'a>,
    plan: &'a DrillPlan,
    crew: Crew<'a>,
    herd: Herd,
    server: SocketAddr,
    /// The processes of the drill.
    pids: [u32; 2],
    suspect: Suspect,
}

/// An answer, and when it came.
struct Heard {
    answer: Answer,
    after: Duration,
}

impl<'a> Scene<'a> {
    fn set(stage: &'a Stage<'a>, plan: &'a DrillPlan) -> Result<Self, ProbeError> {
        let mut crew = Crew::on(stage);
        let (server_id, server) = start_server(&mut crew)?;
        let wish = Wish {
            count: plan.count,
            server,
            leaker: End::Client,
            variant: Variant::UnreadBody,
            isolated: plan.isolated,
        };
        budget::grant(&stage.snapshot()?, &wish)?;
        let most = connections_per_worker();
        if u64::from(plan.count) > most {
            return Err(ProbeError::Budget {
                wanted: plan.count,
                allowed: most,
                reason: "what one process can hold: a drill blames a single one".to_owned(),
                hint: "50 are enough to be found",
            });
        }
        let asking = ClientPlan {
            server,
            host: server.to_string(),
            path: "/drill".to_owned(),
            exchange: EXCHANGE,
            variant: Variant::UnreadBody,
        };
        let herd = Herd::start(&mut crew, asking, most)?;
        let client = herd.first(&crew).ok_or(ProbeError::Silent("probe-client"))?;
        let suspect =
            Suspect { pid: client, destination: server.to_string(), count: plan.count, unread_bytes: BODY_BYTES };
        let pids = [client, crew.pid(server_id)];
        Ok(Self { stage, plan, crew, herd, server, pids, suspect })
    }

    fn ask(&self) -> Result<Answer, ProbeError> {
        alarm::ask(self.stage, &self.plan.alarm, self.pids)
    }

    /// Makes the leak, and looks at the kernel for it. When the last of it was made.
    fn leak(&mut self, steps: &mut Steps<'_>) -> Result<Instant, ProbeError> {
        self.herd.make(&mut self.crew, self.plan.count, Duration::ZERO, &mut |_| {})?;
        let leaked_at = Instant::now();
        self.look(steps, "leak", self.plan.count)?;
        Ok(leaked_at)
    }

    /// Closes everything. When that was done.
    fn cure(&mut self, steps: &mut Steps<'_>) -> Result<Instant, ProbeError> {
        self.herd.release(&mut self.crew)?;
        let cured_at = Instant::now();
        self.look(steps, "cured", 0)?;
        Ok(cured_at)
    }

    fn look(&self, steps: &mut Steps<'_>, name: &'static str, wanted: u32) -> Result<(), ProbeError> {
        let server = Endpoint::new(self.server.ip(), self.server.port());
        let wanted = u64::from(wanted);
        let sight = self.stage.watch(server, End::Client, |sight| sight.close_wait() == wanted)?;
        let words = |number| format!("{} in CLOSE-WAIT to {}", count(number), self.server);
        steps.compare(name, words(wanted), words(sight.close_wait()));
        Ok(())
    }

    /// Asks until the answer is of this mood, or until it has taken too long; the last answer.
    fn wait_for(&self, mood: Mood, since: Instant) -> Result<Heard, ProbeError> {
        loop {
            let answer = self.ask()?;
            let after = since.elapsed();
            if answer.mood == mood || after >= self.plan.within {
                return Ok(Heard { answer, after });
            }
            if let Some(signal) = self.stage.stop.comes_within(self.plan.every) {
                return Err(ProbeError::Stopped(signal.as_str()));
            }
        }
    }

    /// The step of the alarm, and of all that it has to say; how long it took.
    fn note_detection(&self, steps: &mut Steps<'_>, heard: &Heard) -> Option<f64> {
        let taken = note(steps, Mood::Trouble, self.plan.within, heard);
        if let (Alarm::Check(_), Some(_)) = (&self.plan.alarm, taken) {
            evidence::weigh(steps, &self.suspect, &heard.answer.report);
        }
        taken
    }
}

fn start_server(crew: &mut Crew<'_>) -> Result<(MemberId, SocketAddr), ProbeError> {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let plan = ServerPlan { listen, exchange: EXCHANGE, variant: Variant::UnreadBody };
    let (id, said) = crew.start(&Role::Server(plan))?;
    match said {
        Said::Listening(addresses) if !addresses.is_empty() => Ok((id, addresses[0])),
        _ => Err(ProbeError::Silent("probe-server")),
    }
}

/// Notes whether the mood was met in time; after how long, when it was.
fn note(steps: &mut Steps<'_>, wanted: Mood, within: Duration, heard: &Heard) -> Option<f64> {
    let (name, expected) = match wanted {
        Mood::Trouble => ("detected", "an alarm"),
        Mood::Quiet => ("recovered", "quiet again"),
    };
    let ok = heard.answer.mood == wanted;
    let when = if ok { "after" } else { "not within" };
    steps.add(Step {
        name: name.into(),
        expected: format!("{expected} within {}", span(within)),
        observed: format!("{when} {}: {}", span(heard.after), heard.answer.words),
        ok,
    });
    ok.then_some(heard.after.as_secs_f64())
}
