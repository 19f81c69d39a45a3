//! The faulty server: it answers as HTTP wants it and closes first, or keeps its half when the client has closed.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_keepintvl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::http::{self, CLOSE_NOTIFY};
use super::message::{Order, Said, ServerPlan};
use super::scenario::{End, Variant};
use super::worker::say;

/// Threads that accept and answer: as many as a client that waits for each answer can keep busy.
const N_ANSWERING: usize = 4;
/// The longest accept queue that is asked for; `net.core.somaxconn` may allow less.
const BACKLOG: i32 = 65_535;
/// A client that is silent for so long is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a pooled connection is idle before the server ends it: the answer has long been read then.
const IDLE: Duration = Duration::from_millis(100);
/// How often keepalive probes are sent: the disease is there a second after the peer's half has ended.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The connections that the server keeps.
type Held = Arc<Mutex<Vec<TcpStream>>>;

/// Serves until the orders end.
///
/// # Errors
/// When it cannot listen.
pub(super) fn serve(plan: &ServerPlan, orders: &Receiver<Order>) -> io::Result<()> {
    let listeners = plan.listen.iter().map(listen_at).collect::<io::Result<Vec<_>>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let held = Held::default();
    let pool = begin_pool();
    if plan.variant != Variant::AcceptStalled {
        for listener in &listeners {
            for _ in 0..N_ANSWERING {
                let answering = Answering { plan: plan.clone(), held: Arc::clone(&held), pool: pool.clone() };
                let listener = listener.try_clone()?;
                thread::spawn(move || answering.run(&listener));
            }
        }
    }
    say(&Said::Listening(addresses));
    for order in orders {
        if order == Order::Release {
            let released = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
            say(&Said::Released(released.len() as u32));
        }
    }
    Ok(())
}

fn listen_at(address: &SocketAddr) -> io::Result<TcpListener> {
    let refuse = |error: rustix::io::Errno| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("listening at {address}: {error}"))
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(refuse)?;
    // Connections in TIME-WAIT from an earlier probe do not keep a new one from the port.
    sockopt::set_socket_reuseaddr(&socket, true).map_err(refuse)?;
    bind(&socket, address).map_err(refuse)?;
    listen(&socket, BACKLOG).map_err(refuse)?;
    Ok(TcpListener::from(socket))
}

/// One of the threads that answer.
struct Answering {
    plan: ServerPlan,
    held: Held,
    pool: Sender<(Instant, TcpStream)>,
}

impl Answering {
    fn run(&self, listener: &TcpListener) {
        loop {
            match listener.accept() {
                // What becomes of one connection is seen at the client.
                Ok((stream, _)) => drop(self.answer(stream)),
                // Out of descriptors: one may come back.
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let closes_first = self.plan.exchange.closes_first == End::Server;
        let pooled = self.plan.variant == Variant::TlsPooled;
        stream.set_read_timeout(Some(PATIENCE))?;
        http::read_request_head(&mut stream)?;
        let response = http::write_response(&self.plan.exchange, pooled || !closes_first);
        io::Write::write_all(&mut stream, &response)?;
        if closes_first {
            if pooled {
                // The receiver ends with the process.
                let _ = self.pool.send((Instant::now() + IDLE, stream));
            }
            return Ok(());
        }
        match self.plan.variant {
            Variant::EofRead => http::read_to_close(&mut stream)?,
            Variant::Keepalive => watch_by_keepalive(&stream)?,
            _ => {}
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(())
    }
}

/// Has the kernel ask the peer every second whether it is still there.
pub(super) fn watch_by_keepalive(stream: &TcpStream) -> io::Result<()> {
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, PROBE_EVERY)?;
    Ok(set_tcp_keepintvl(stream, PROBE_EVERY)?)
}

/// Starts the thread that ends pooled connections when they have been idle, in the order in which they became so.
fn begin_pool() -> Sender<(Instant, TcpStream)> {
    let (sender, pooled) = mpsc::channel::<(Instant, TcpStream)>();
    thread::spawn(move || {
        for (due, mut stream) in pooled {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A client that has gone needs no good-bye.
            let _ = io::Write::write_all(&mut stream, &CLOSE_NOTIFY);
        }
    });
    sender
}
