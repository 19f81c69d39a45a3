//! The leaking client: it asks as HTTP wants it, and does not close.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};

use super::http::{self, BODY_BYTES};
use super::message::{ClientPlan, Made, Order, Role, Said};
use super::scenario::{End, Variant};
use super::server::{PATIENCE, watch_by_keepalive};
use super::worker::{self, THIS_PROGRAM, say};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// So many children keep copies of the descriptors: two show that no single close() is enough.
const N_HEIRS: usize = 2;

/// Carries out orders until they end.
///
/// # Errors
/// When a connection fails for another reason than that there is no port left.
pub(super) fn ask(plan: &ClientPlan, orders: &Receiver<Order>) -> io::Result<()> {
    let mut held = Held::default();
    say(&Said::Ready);
    for order in orders {
        match order {
            Order::Make { count, every } => {
                let made = held.make(plan, count, every)?;
                say(&Said::Made(made));
            }
            Order::Try(server) => say(&Said::Tried(try_once(plan, server).err().map(|error| error.to_string()))),
            Order::Release => {
                let count = held.streams.len() + held.inherited;
                // Who dies gives its descriptors back.
                held = Held::default();
                say(&Said::Released(count as u32));
            }
        }
    }
    Ok(())
}

/// What the client keeps.
#[derive(Default)]
struct Held {
    streams: Vec<TcpStream>,
    heirs: Vec<worker::Started>,
    /// How many connections the heirs have.
    inherited: usize,
}

impl Held {
    fn make(&mut self, plan: &ClientPlan, count: u32, every: Duration) -> io::Result<Made> {
        let mut made = Made::default();
        let (start, mut told_at) = (Instant::now(), Instant::now());
        let first = self.streams.len();
        while made.count < count {
            thread::sleep((start + every * made.count).saturating_duration_since(Instant::now()));
            let began_at = Instant::now();
            match TcpStream::connect_timeout(&plan.server, PATIENCE) {
                Ok(stream) => {
                    made.connect_us.push(u32::try_from(began_at.elapsed().as_micros()).unwrap_or(u32::MAX));
                    self.streams.extend(converse(plan, stream).map_err(|error| in_words(plan.server, &error))?);
                }
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                    made.no_port_left = true;
                    break;
                }
                Err(error) => return Err(in_words(plan.server, &error)),
            }
            made.count += 1;
            if told_at.elapsed() >= TELL_EVERY {
                told_at = Instant::now();
                say(&Said::Progress(made.count));
            }
        }
        if plan.variant == Variant::ForkedChildren {
            made.heirs = self.bequeath(first)?;
        }
        Ok(made)
    }

    /// Starts children that inherit the connections made since there were so many, and closes them here.
    fn bequeath(&mut self, first: usize) -> io::Result<Vec<u32>> {
        for stream in &self.streams[first..] {
            fcntl_setfd(stream, FdFlags::empty())?;
        }
        let mut pids = Vec::new();
        for _ in 0..N_HEIRS {
            let heir = worker::start(Path::new(THIS_PROGRAM), &Role::Heir)?;
            pids.push(heir.child.id());
            self.heirs.push(heir);
        }
        self.inherited += self.streams.drain(first..).count();
        Ok(pids)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for heir in &mut self.heirs {
            // One that has ended already is what is wanted.
            let _ = heir.child.kill();
            let _ = heir.child.wait();
        }
    }
}

/// One exchange, up to where the program forgets to close; `None` when this end has closed.
fn converse(plan: &ClientPlan, mut stream: TcpStream) -> io::Result<Option<TcpStream>> {
    let closes_first = plan.exchange.closes_first == End::Client;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A server that leaves a body unread needs one.
    let body = if closes_first && plan.variant == Variant::UnreadBody { BODY_BYTES } else { 0 };
    stream.write_all(&http::write_request(&plan.path, &plan.host, &plan.exchange, body))?;
    if plan.variant == Variant::AcceptStalled {
        return Ok(None);
    }
    let end = http::read_response_head(&mut stream)?;
    if closes_first {
        http::read_body(&mut stream, end)?;
        return Ok(None);
    }
    match plan.variant {
        Variant::EofRead => http::read_to_close(&mut stream)?,
        Variant::TlsPooled => http::read_body(&mut stream, end)?,
        Variant::Keepalive => watch_by_keepalive(&stream)?,
        Variant::UnreadBody | Variant::ForkedChildren | Variant::AcceptStalled => {}
    }
    Ok(Some(stream))
}

/// Whether a connection can be made there.
fn try_once(plan: &ClientPlan, server: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    converse(plan, stream).map(drop)
}

fn in_words(server: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("asking {server}: {error}"))
}
