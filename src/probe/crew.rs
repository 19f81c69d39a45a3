//! The director's side: starting workers, ordering, and hearing what they and the signals say.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use super::message::{Order, Role, Said};
use super::{ProbeError, Stage, worker};

/// A worker that has said nothing for so long has come to grief.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a signal may wait to be seen.
const BETWEEN_GLANCES: Duration = Duration::from_millis(20);
/// The signals that end a probe in order.
const STOPPING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The wishes to stop that come as SIGINT, SIGTERM or SIGHUP.
#[derive(Debug)]
pub struct StopSignals(Option<Receiver<Signal>>);

impl StopSignals {
    /// Takes the signals as wishes from here on. To be called before any other thread is started: threads inherit which
    /// signals are not delivered to them.
    ///
    /// # Errors
    /// When the thread that waits for them cannot be started.
    pub fn heed() -> Result<Self, ProbeError> {
        let set: SigSet = STOPPING.into_iter().collect();
        set.thread_block().map_err(|error| ProbeError::Start(error.into()))?;
        let (say, hear) = mpsc::channel();
        let wait = move || {
            while let Ok(signal) = set.wait() {
                if say.send(signal).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(ProbeError::Start)?;
        Ok(Self(Some(hear)))
    }

    /// Leaves the signals to what they do by themselves.
    #[must_use]
    pub fn ignored() -> Self {
        Self(None)
    }

    /// The signal that came, if any.
    pub(super) fn came(&self) -> Option<Signal> {
        self.0.as_ref()?.try_recv().ok()
    }

    /// Whether one comes within this time.
    pub(super) fn comes_within(&self, span: Duration) -> Option<Signal> {
        match &self.0 {
            Some(signals) => signals.recv_timeout(span).ok(),
            None => {
                thread::sleep(span);
                None
            }
        }
    }
}

/// The workers of a probe. They end when it is dropped.
pub(super) struct Crew<'a> {
    stage: &'a Stage<'a>,
    members: Vec<Member>,
    hear: Receiver<(usize, Heard)>,
    say: Sender<(usize, Heard)>,
}

/// Which worker of a crew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberId(usize);

struct Member {
    name: &'static str,
    child: Child,
    /// `None` when it has been dismissed.
    orders: Option<ChildStdin>,
}

enum Heard {
    Said(Said),
    /// It has ended.
    Gone,
}

impl<'a> Crew<'a> {
    pub(super) fn on(stage: &'a Stage<'a>) -> Self {
        let (say, hear) = mpsc::channel();
        Self { stage, members: Vec::new(), hear, say }
    }

    /// Starts a worker, and hears its first word.
    pub(super) fn start(&mut self, role: &Role) -> Result<(MemberId, Said), ProbeError> {
        let program: &Path = &self.stage.program;
        let worker::Started { child, orders, said } = worker::start(program, role).map_err(ProbeError::Start)?;
        let number = self.members.len();
        self.members.push(Member { name: role.name(), child, orders: Some(orders) });
        let say = self.say.clone();
        let listen = move || {
            let lines = BufReader::new(said).lines().map_while(Result::ok);
            for said in lines.map_while(|line| serde_json::from_str(&line).ok()) {
                if say.send((number, Heard::Said(said))).is_err() {
                    return;
                }
            }
            // Nobody is left to be told when the probe is over.
            let _ = say.send((number, Heard::Gone));
        };
        thread::Builder::new().name(role.name().to_owned()).spawn(listen).map_err(ProbeError::Start)?;
        let id = MemberId(number);
        Ok((id, self.hear(id, &mut |_| {})?))
    }

    pub(super) fn pid(&self, id: MemberId) -> u32 {
        self.members[id.0].child.id()
    }

    /// Orders, and hears what comes of it. `progress` is told the numbers that come before.
    pub(super) fn order(
        &mut self,
        id: MemberId,
        order: &Order,
        progress: &mut dyn FnMut(u32),
    ) -> Result<Said, ProbeError> {
        let member = &mut self.members[id.0];
        let line = serde_json::to_string(order).map_err(|error| ProbeError::Start(error.into()))?;
        // That it has ended is heard below, with its reason.
        let _ = member.orders.as_mut().map(|orders| writeln!(orders, "{line}").and_then(|()| orders.flush()));
        self.hear(id, progress)
    }

    fn hear(&mut self, id: MemberId, progress: &mut dyn FnMut(u32)) -> Result<Said, ProbeError> {
        let worker = self.members[id.0].name;
        let mut heard_at = Instant::now();
        loop {
            if let Some(signal) = self.stage.stop.came() {
                return Err(ProbeError::Stopped(signal.as_str()));
            }
            match self.hear.recv_timeout(BETWEEN_GLANCES) {
                Ok((_, Heard::Said(Said::Progress(number)))) => {
                    heard_at = Instant::now();
                    progress(number);
                }
                Ok((number, Heard::Said(Said::Failed(said)))) => {
                    return Err(ProbeError::Worker { worker: self.members[number].name, said });
                }
                Ok((number, Heard::Said(said))) if number == id.0 => return Ok(said),
                Ok((number, Heard::Gone)) if self.members[number].orders.is_some() => {
                    let worker = self.members[number].name;
                    return Err(ProbeError::Worker { worker, said: "it was ended from outside".to_owned() });
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if heard_at.elapsed() < SILENCE => {}
                Err(_) => return Err(ProbeError::Silent(worker)),
            }
        }
    }
}

impl Crew<'_> {
    /// Ends all workers; the wait is for the kernel to have taken their sockets back.
    pub(super) fn dismiss(&mut self) {
        for member in &mut self.members {
            drop(member.orders.take());
            // One that is stuck in the kernel or has ended already.
            let _ = member.child.kill();
        }
        for member in &mut self.members {
            let _ = member.child.wait();
        }
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        self.dismiss();
    }
}
