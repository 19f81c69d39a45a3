//! As many clients as it takes to hold all connections: each can hold as many as it may have descriptors.

use std::time::{Duration, Instant};

use super::ProbeError;
use super::crew::{Crew, MemberId};
use super::message::{ClientPlan, Made, Order, Role, Said};

/// Progress, told once a second at most.
pub(super) fn told_seldom(mut tell: impl FnMut(u32)) -> impl FnMut(u32) {
    let mut told_at = Instant::now();
    move |number| {
        if told_at.elapsed() >= Duration::from_secs(1) {
            told_at = Instant::now();
            tell(number);
        }
    }
}

/// The clients of a probe.
pub(super) struct Herd {
    plan: ClientPlan,
    /// How many connections each may hold.
    each: u32,
    clients: Vec<Client>,
}

struct Client {
    id: MemberId,
    held: u32,
    /// Who holds them in its place.
    heirs: Vec<u32>,
}

impl Herd {
    /// One client, and others later where it cannot hold all.
    pub(super) fn start(crew: &mut Crew<'_>, plan: ClientPlan, each: u64) -> Result<Self, ProbeError> {
        let mut herd = Self { plan, each: u32::try_from(each).unwrap_or(u32::MAX), clients: Vec::new() };
        herd.enlarge(crew)?;
        Ok(herd)
    }

    fn enlarge(&mut self, crew: &mut Crew<'_>) -> Result<(), ProbeError> {
        let (id, _ready) = crew.start(&Role::Client(self.plan.clone()))?;
        self.clients.push(Client { id, held: 0, heirs: Vec::new() });
        Ok(())
    }

    /// Makes so many connections, or as many as there are ports.
    pub(super) fn make(
        &mut self,
        crew: &mut Crew<'_>,
        count: u32,
        every: Duration,
        progress: &mut dyn FnMut(u32),
    ) -> Result<Made, ProbeError> {
        let mut all = Made::default();
        let mut nth = 0;
        while all.count < count && !all.no_port_left {
            if nth == self.clients.len() {
                self.enlarge(crew)?;
            }
            let client = &mut self.clients[nth];
            nth += 1;
            let room = self.each.saturating_sub(client.held).min(count - all.count);
            if room == 0 {
                continue;
            }
            let before = all.count;
            let order = Order::Make { count: room, every };
            let Said::Made(made) = crew.order(client.id, &order, &mut |number| progress(before + number))? else {
                return Err(ProbeError::Silent("probe-client"));
            };
            client.held += made.count;
            client.heirs.extend(&made.heirs);
            all.count += made.count;
            all.no_port_left = made.no_port_left;
            all.connect_us.extend(made.connect_us);
            all.heirs.extend(made.heirs);
        }
        Ok(all)
    }

    /// Has every client close what it holds; the number of connections closed.
    pub(super) fn release(&mut self, crew: &mut Crew<'_>) -> Result<u32, ProbeError> {
        let mut released = 0;
        for client in &mut self.clients {
            if let Said::Released(count) = crew.order(client.id, &Order::Release, &mut |_| {})? {
                released += count;
            }
            client.held = 0;
            client.heirs.clear();
        }
        Ok(released)
    }

    /// The process of the first client.
    pub(super) fn first(&self, crew: &Crew<'_>) -> Option<u32> {
        self.clients.first().map(|client| crew.pid(client.id))
    }

    /// The processes that hold the connections, and how many each.
    pub(super) fn holders(&self, crew: &Crew<'_>) -> Vec<(u32, u32)> {
        let holding = self.clients.iter().filter(|client| client.held > 0);
        let mut holders = Vec::new();
        for client in holding {
            match client.heirs.as_slice() {
                [] => holders.push((crew.pid(client.id), client.held)),
                heirs => holders.extend(heirs.iter().map(|pid| (*pid, client.held))),
            }
        }
        holders
    }

    /// Whether a connection to another server can be made; the error in words when not.
    pub(super) fn try_other(
        &self,
        crew: &mut Crew<'_>,
        server: std::net::SocketAddr,
    ) -> Result<Option<String>, ProbeError> {
        let Some(client) = self.clients.first() else { return Ok(None) };
        match crew.order(client.id, &Order::Try(server), &mut |_| {})? {
            Said::Tried(error) => Ok(error),
            _ => Err(ProbeError::Silent("probe-client")),
        }
    }
}
