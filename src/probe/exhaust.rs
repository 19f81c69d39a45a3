//! Every port to one destination, taken by a leak, until `connect()` says EADDRNOTAVAIL; and what becomes of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::budget::connections_per_worker;
use super::crew::Crew;
use super::herd::{Herd, told_seldom};
use super::message::{ClientPlan, Role, Said, ServerPlan};
use super::outcome::{Outcome, Step, Steps};
use super::scenario::{End, Exchange, Framing, HttpVersion, Variant};
use super::sight::{Sight, pool_to};
use super::{ProbeError, Stage, isolation};
use crate::census::pools::PortPool;
use crate::model::ports::EphemeralRange;
use crate::model::tuple::Endpoint;
use crate::model::wording::{count, counted};

/// The range where none was asked for: large enough that the slowing of `connect()` shows, small enough to be filled in
/// seconds.
pub const USUAL_RANGE: EphemeralRange = EphemeralRange { first: 20_000, last: 29_999 };
/// Where the server listens: the first of these that lies outside the range.
const SERVER_PORTS: [u16; 2] = [8086, 80];
/// The address that is filled up, and another one.
const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
/// Into so many parts the filling is cut to show how `connect()` slows down.
const PARTS: usize = 10;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// How many connections closewatch said there would be ports for.
    pub predicted: u32,
    /// Of these, how many for sure.
    pub predicted_at_least: u32,
    /// How many there were when `connect()` said EADDRNOTAVAIL.
    pub observed: u32,
    /// How many there were the second time, after everything had been closed.
    pub recovered: u32,
    /// The median of what `connect()` took in each tenth of the way, microseconds.
    pub connect_us: Vec<u32>,
}

/// Fills every port to one destination in the network namespace that this process is in, which must be its own: see
/// [`isolation::isolate`]. With a range, the namespace hands out that one; without, what it does already.
///
/// # Errors
/// [`ProbeError`].
pub fn run(stage: &Stage<'_>, range: Option<EphemeralRange>) -> Result<Outcome<Figures>, ProbeError> {
    if let Some(range) = range {
        refuse_single_port(range)?;
        isolation::set_port_range(range)?;
    }
    let mut crew = Crew::on(stage);
    let servers = start_servers(stage, &mut crew)?;
    let mut scene = Scene::set(stage, crew, servers)?;
    let mut steps = Steps::told_to(stage.tell);
    let figures = scene.play(&mut steps)?;
    Ok(Outcome::of("exhaust", steps, figures))
}

/// Refuses a range that cannot be filled.
///
/// # Errors
/// [`ProbeError::Senseless`].
pub fn refuse_single_port(range: EphemeralRange) -> Result<(), ProbeError> {
    if range.span() > 1 {
        return Ok(());
    }
    Err(ProbeError::Senseless {
        what: format!("--range: {}-{} is a single port: there is nothing to fill", range.first, range.last),
        hint: "a range of 100 ports is enough to see EADDRNOTAVAIL, one of 4,000 to see connect() slow down",
    })
}

const EXCHANGE: Exchange =
    Exchange { version: HttpVersion::V11, framing: Framing::ContentLength, closes_first: End::Server };

/// A server at two addresses, and the addresses.
fn start_servers(stage: &Stage<'_>, crew: &mut Crew<'_>) -> Result<[SocketAddr; 2], ProbeError> {
    let snapshot = stage.snapshot()?;
    let range = snapshot.namespaces.first().and_then(|namespace| namespace.ports.range);
    let outside = |port: &&u16| range.is_none_or(|range| !range.contains(**port));
    let port = SERVER_PORTS.iter().find(outside).copied().unwrap_or(0);
    let listen = HOSTS.map(|host| SocketAddr::from((host, port))).to_vec();
    let plan = ServerPlan { listen, exchange: EXCHANGE, variant: Variant::UnreadBody };
    let (_server, said) = crew.start(&Role::Server(plan))?;
    match said {
        Said::Listening(addresses) => addresses.try_into().map_err(|_| ProbeError::Silent("probe-server")),
        _ => Err(ProbeError::Silent("probe-server")),
    }
}

struct Scene<'a> {
    stage: &'a Stage<'a>,
    crew: Crew<'a>,
    herd: Herd,
    servers: [SocketAddr; 2],
    before: PortPool,
}

impl<'a> Scene<'a> {
    fn set(stage: &'a Stage<'a>, mut crew: Crew<'a>, servers: [SocketAddr; 2]) -> Result<Self, ProbeError> {
        let plan = ClientPlan {
            server: servers[0],
            host: servers[0].to_string(),
            path: "/exhaust".to_owned(),
            exchange: EXCHANGE,
            variant: Variant::UnreadBody,
        };
        let herd = Herd::start(&mut crew, plan, connections_per_worker())?;
        let before = predict(stage, servers[0])?;
        Ok(Self { stage, crew, herd, servers, before })
    }

    fn play(&mut self, steps: &mut Steps<'_>) -> Result<Figures, ProbeError> {
        let (predicted, at_least) = (self.before.remaining, self.before.remaining_at_least);
        let expected = if at_least == predicted {
            counted(predicted.into(), "connection", "connections")
        } else {
            format!("{} to {} connections", count(at_least.into()), count(predicted.into()))
        };
        (self.stage.tell)(&format!("closewatch predicts: {expected} from here to {}", self.servers[0]));
        let (observed, connect_us) = self.fill(steps, "exhausted")?;
        steps.add(Step {
            name: "predicted".into(),
            expected,
            observed: counted(observed.into(), "connection", "connections"),
            ok: (at_least..=predicted).contains(&observed),
        });
        self.look_at_the_full_pool(steps, observed)?;
        let recovered = self.cure(steps, at_least)?;
        let connect_us = tenths(&connect_us);
        self.tell_of_the_slowing(&connect_us);
        Ok(Figures { predicted, predicted_at_least: at_least, observed, recovered, connect_us })
    }

    /// Connects until there is no port left; how often that went well, and how long each took.
    fn fill(&mut self, steps: &mut Steps<'_>, name: &'static str) -> Result<(u32, Vec<u32>), ProbeError> {
        let tell = self.stage.tell;
        let mut progress = told_seldom(|number| tell(&format!("          {} connections", count(number.into()))));
        // More than there are port numbers.
        let made = self.herd.make(&mut self.crew, 1 << 16, Duration::ZERO, &mut progress)?;
        let observed = match made.no_port_left {
            true => "connect() says EADDRNOTAVAIL: Cannot assign requested address",
            false => "connect() goes on",
        };
        steps.compare(name, "connect() says EADDRNOTAVAIL: Cannot assign requested address", observed);
        Ok((made.count, made.connect_us))
    }

    fn look_at_the_full_pool(&mut self, steps: &mut Steps<'_>, observed: u32) -> Result<(), ProbeError> {
        let n_close_wait = |sight: &Sight| sight.close_wait();
        let sight = self.watch(|sight| n_close_wait(sight) == u64::from(observed))?;
        steps.compare("close-wait", in_close_wait(observed.into()), in_close_wait(n_close_wait(&sight)));
        let left = predict(self.stage, self.servers[0])?;
        steps.add(Step {
            name: "none-left".into(),
            expected: "closewatch counts no port left".to_owned(),
            observed: format!("closewatch counts {} left", counted(left.remaining_at_least.into(), "port", "ports")),
            ok: left.remaining_at_least == 0,
        });
        let other = self.herd.try_other(&mut self.crew, self.servers[1])?;
        let answers = |error: Option<String>| match error {
            None => format!("{} still answers", self.servers[1]),
            Some(error) => error,
        };
        steps.compare("other-destination", answers(None), answers(other));
        Ok(())
    }

    /// Closes everything, and fills up again: as often as was sure the first time, or more.
    fn cure(&mut self, steps: &mut Steps<'_>, at_least: u32) -> Result<u32, ProbeError> {
        self.herd.release(&mut self.crew)?;
        let sight = self.watch(|sight| sight.close_wait() == 0)?;
        steps.compare("closed", in_close_wait(0), in_close_wait(sight.close_wait()));
        let (recovered, _) = self.fill(steps, "exhausted-again")?;
        let words = |number: u32| counted(number.into(), "connection", "connections");
        steps.add(Step {
            name: "recovered".into(),
            expected: format!("at least {} again", words(at_least)),
            observed: words(recovered),
            ok: recovered >= at_least.max(1),
        });
        self.herd.release(&mut self.crew)?;
        Ok(recovered)
    }

    fn watch(&self, holds: impl Fn(&Sight) -> bool) -> Result<Sight, ProbeError> {
        let server = Endpoint::new(self.servers[0].ip(), self.servers[0].port());
        self.stage.watch(server, End::Client, holds)
    }

    fn tell_of_the_slowing(&self, connect_us: &[u32]) {
        let (Some(first), Some(last)) = (connect_us.first(), connect_us.last()) else { return };
        let all: Vec<String> = connect_us.iter().map(|us| count((*us).into())).collect();
        (self.stage.tell)(&format!(
            "connect() took {} us in the first tenth of the ports and {} us in the last; by tenths: {}",
            count((*first).into()),
            count((*last).into()),
            all.join(" "),
        ));
    }
}

fn in_close_wait(number: u64) -> String {
    format!("{} in CLOSE-WAIT", count(number))
}

fn predict(stage: &Stage<'_>, server: SocketAddr) -> Result<PortPool, ProbeError> {
    let unknown = || ProbeError::Look("how many ports are left is not known".to_owned());
    pool_to(&stage.snapshot()?, server).ok_or_else(unknown)
}

/// The median of each tenth; fewer parts of fewer values.
fn tenths(values: &[u32]) -> Vec<u32> {
    let parts = values.chunks(values.len().div_ceil(PARTS).max(1));
    parts
        .map(|part| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part[part.len() / 2]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_medians_in_order() {
        assert_eq!(tenths(&(0..100).collect::<Vec<_>>()), [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]);
        assert_eq!(tenths(&[7, 9]), [7, 9]);
        assert!(tenths(&[]).is_empty());
    }
}
