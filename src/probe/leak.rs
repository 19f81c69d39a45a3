//! A leak of the size and kind that was asked for, held until it is to end.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::budget::{self, Wish, connections_per_worker};
use super::crew::{Crew, MemberId};
use super::herd::{Herd, told_seldom};
use super::http;
use super::isolation::Isolation;
use super::message::{ClientPlan, Order, Role, Said, ServerPlan};
use super::outcome::{Outcome, Step, Steps};
use super::scenario::{End, Exchange, Variant};
use super::sight::Sight;
use super::signs::{self, Leak};
use super::{ProbeError, Stage};
use crate::model::tuple::Endpoint;
use crate::model::wording::{count, counted, span};

/// Against whom is leaked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A server of the probe's own, which listens there.
    Own(SocketAddr),
    /// Somebody's server.
    Theirs(TheirServer),
}

/// A server that the operator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TheirServer {
    /// Where it is.
    pub address: SocketAddr,
    /// What its name is: the value of the `Host` field.
    pub host: String,
    /// What is asked for.
    pub path: String,
    /// Whether it may be on another host.
    pub remote_allowed: bool,
}

/// Which leak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeakPlan {
    /// How many connections.
    pub count: u32,
    /// The distance between two; zero for as fast as it goes.
    pub every: Duration,
    /// How long they are held.
    pub hold: Duration,
    /// What is asked and answered, and who closes first.
    pub exchange: Exchange,
    /// By which neglect the other end keeps its half.
    pub variant: Variant,
    /// Against whom.
    pub target: Target,
    /// The namespace of its own that it runs in; `None` in that of the host.
    pub isolation: Option<Isolation>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// The server's address.
    pub destination: String,
    /// The processes that hold the leak, and how many sockets each.
    pub holders: Vec<Holder>,
}

/// A process that holds a part of the leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// How many sockets.
    pub sockets: u32,
}

/// Makes the leak, shows it, holds it and releases it.
///
/// # Errors
/// [`ProbeError`]. A signal while the leak is held is no error: it ends the holding.
pub fn run(stage: &Stage<'_>, plan: &LeakPlan) -> Result<Outcome<Figures>, ProbeError> {
    refuse_misfits(plan)?;
    let mut steps = Steps::told_to(stage.tell);
    let mut scene = Scene::set(stage, plan)?;
    scene.make(&mut steps)?;
    let leak = scene.leak();
    signs::of(&leak).iter().for_each(|line| (stage.tell)(line));
    (stage.tell)(&format!("holding it for {}; Ctrl-C or SIGTERM ends it", span(plan.hold)));
    if let Some(signal) = stage.stop.comes_within(plan.hold) {
        (stage.tell)(&format!("{} came: releasing", signal.as_str()));
    }
    scene.release(&mut steps)?;
    let holders = leak.holders.iter().map(|(pid, sockets)| Holder { pid: *pid, sockets: *sockets }).collect();
    Ok(Outcome::of("leak", steps, Figures { destination: leak.server.to_string(), holders }))
}

fn refuse_misfits(plan: &LeakPlan) -> Result<(), ProbeError> {
    if let Some(why) = plan.exchange.impossible().or(plan.variant.misfit(&plan.exchange)) {
        let hint = "leave --http, --framing or --closes out: what is usual for the variant is taken then";
        return Err(ProbeError::Senseless { what: why.to_owned(), hint });
    }
    let server = match &plan.target {
        Target::Own(listen) if listen.ip().is_loopback() => return Ok(()),
        Target::Own(listen) => {
            let what = format!("--listen: {} is not a loopback address", listen.ip());
            let hint = "a probe serves nobody else: 127.0.0.1:0 or [::1]:0";
            return Err(ProbeError::Senseless { what, hint });
        }
        Target::Theirs(server) => server,
    };
    let needs_own = matches!(plan.variant, Variant::AcceptStalled | Variant::TlsPooled);
    if needs_own || plan.exchange.closes_first == End::Client {
        let what = format!("--target: what {} needs of a server, a server of yours does not do", plan.variant.token());
        let hint = "leave --target out, or leak a body: unread-body, eof-read, keepalive, forked-children";
        return Err(ProbeError::Senseless { what, hint });
    }
    if server.address.ip().is_loopback() || server.remote_allowed {
        return Ok(());
    }
    Err(ProbeError::Remote { address: server.address })
}

struct Scene<'a> {
    stage: &'a Stage<'a>,
    plan: &'a LeakPlan,
    crew: Crew<'a>,
    herd: Herd,
    address: SocketAddr,
    /// The server, where it is the probe's own.
    server: Option<MemberId>,
    made: u32,
}

impl<'a> Scene<'a> {
    fn set(stage: &'a Stage<'a>, plan: &'a LeakPlan) -> Result<Self, ProbeError> {
        let mut crew = Crew::on(stage);
        let (server, address, host, path) = match &plan.target {
            Target::Own(listen) => {
                let own = ServerPlan { listen: vec![*listen], exchange: plan.exchange, variant: plan.variant };
                let (server, said) = crew.start(&Role::Server(own))?;
                let Said::Listening(addresses) = said else { return Err(ProbeError::Silent("probe-server")) };
                let address = addresses.first().copied().ok_or(ProbeError::Silent("probe-server"))?;
                (Some(server), address, address.to_string(), "/leak".to_owned())
            }
            Target::Theirs(their) => (None, their.address, their.host.clone(), their.path.clone()),
        };
        let leaker = plan.exchange.closes_first.other();
        let isolated = plan.isolation.is_some();
        let wish = Wish { count: plan.count, server: address, leaker, variant: plan.variant, isolated };
        budget::grant(&stage.snapshot()?, &wish)?;
        let asking = ClientPlan { server: address, host, path, exchange: plan.exchange, variant: plan.variant };
        let herd = Herd::start(&mut crew, asking, connections_per_worker())?;
        Ok(Self { stage, plan, crew, herd, address, server, made: 0 })
    }

    fn make(&mut self, steps: &mut Steps<'_>) -> Result<(), ProbeError> {
        let (tell, plan) = (self.stage.tell, self.plan);
        tell(&format!(
            "leaking {} to {}: {}, {}",
            counted(plan.count.into(), "connection", "connections"),
            self.address,
            plan.exchange.words(),
            plan.variant.token(),
        ));
        let wanted = count(plan.count.into());
        let mut progress = told_seldom(|number| tell(&format!("          {} of {wanted}", count(number.into()))));
        let made = self.herd.make(&mut self.crew, plan.count, plan.every, &mut progress)?;
        self.made = made.count;
        let words = |number: u32| counted(number.into(), "connection", "connections");
        steps.compare("connected", words(plan.count), words(made.count));
        self.look(steps)
    }

    /// Holds what the kernel shows against what had to come.
    fn look(&self, steps: &mut Steps<'_>) -> Result<(), ProbeError> {
        let leaker = self.plan.exchange.closes_first.other();
        let wanted = u64::from(self.made);
        let own = matches!(self.plan.target, Target::Own(_));
        let queue = expected_unread(self.plan).filter(|_| own);
        let is_kind = |sight: &Sight| match queue {
            Some(bytes) => sight.unread == Some((bytes, bytes)),
            None => sight.unread.is_some_and(|(least, _)| least > 0),
        };
        let holds = |sight: &Sight| sight.close_wait() == wanted && is_kind(sight);
        let sight = self.stage.watch(self.endpoint(), leaker, holds)?;
        let words = |number: u64| format!("{} in CLOSE-WAIT at the {}", count(number), leaker.token());
        steps.compare("close-wait", words(wanted), words(sight.close_wait()));
        let in_every = |bytes: u32| format!("{} in every receive queue", count(bytes.into()));
        steps.add(Step {
            name: "kind".into(),
            expected: queue.map_or("something in every receive queue".to_owned(), in_every),
            observed: match sight.unread {
                None => "no socket to look at".to_owned(),
                Some((least, most)) if least == most => in_every(least),
                Some((least, most)) => {
                    format!("{} to {} in the receive queues", count(least.into()), count(most.into()))
                }
            },
            ok: is_kind(&sight),
        });
        Ok(())
    }

    fn release(&mut self, steps: &mut Steps<'_>) -> Result<(), ProbeError> {
        self.herd.release(&mut self.crew)?;
        if let Some(server) = self.server.filter(|_| self.plan.variant != Variant::AcceptStalled) {
            self.crew.order(server, &Order::Release, &mut |_| {})?;
        } else if self.server.is_some() {
            // Only the end of a listener frees what waits in its queue.
            self.crew.dismiss();
        }
        let leaker = self.plan.exchange.closes_first.other();
        let sight = self.stage.watch(self.endpoint(), leaker, |sight| sight.close_wait() == 0)?;
        let words = |number: u64| format!("{} in CLOSE-WAIT", count(number));
        steps.compare("released", words(0), words(sight.close_wait()));
        Ok(())
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.address.ip(), self.address.port())
    }

    fn leak(&self) -> Leak {
        let leaker = self.plan.exchange.closes_first.other();
        let holders = match (leaker, self.server) {
            (End::Server, Some(server)) => vec![(self.crew.pid(server), self.made)],
            _ => self.herd.holders(&self.crew),
        };
        Leak {
            count: self.made,
            server: self.endpoint(),
            leaker,
            variant: self.plan.variant,
            isolation: self.plan.isolation,
            holders,
        }
    }
}

/// What lies in the receive queue of each leaked socket: the bytes that were left, and the FIN. `None` where that depends on
/// somebody's server.
fn expected_unread(plan: &LeakPlan) -> Option<u32> {
    let bytes = match (plan.variant, plan.exchange.closes_first) {
        (Variant::EofRead, _) => return Some(0),
        // A request whose length the port number is a part of.
        (Variant::AcceptStalled, _) => return None,
        (Variant::TlsPooled, _) => http::CLOSE_NOTIFY.len(),
        (_, End::Server) => http::body_length(plan.exchange.framing),
        (Variant::UnreadBody, End::Client) => http::BODY_BYTES,
        (_, End::Client) => 0,
    };
    u32::try_from(bytes + 1).ok()
}
