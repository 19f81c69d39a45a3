//! One connection of the matrix, both ends in this process, and what is done to them.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::rows::{Body, Moment, Row};
use crate::model::tuple::{Endpoint, FourTuple};
use crate::probe::ProbeError;
use crate::probe::http::{self, BodyEnd};
use crate::probe::scenario::End;
use crate::probe::server::PATIENCE;

/// Both ends of a connection over which a response has come.
pub(super) struct Wire {
    client: Option<TcpStream>,
    server: Option<TcpStream>,
    body_end: BodyEnd,
    pub(super) client_end: Endpoint,
    pub(super) server_end: Endpoint,
}

impl Wire {
    /// Connects, asks and answers.
    pub(super) fn make(row: Row) -> Result<Self, ProbeError> {
        Self::exchange(row).map_err(failed)
    }

    fn exchange(row: Row) -> io::Result<Self> {
        let exchange = row.exchange();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
        let (mut server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        let end = |address: SocketAddr| Endpoint::new(address.ip(), address.port());
        let (client_end, server_end) = (end(client.local_addr()?), end(server.local_addr()?));
        client.write_all(&http::write_request("/matrix", &server_end.to_string(), &exchange, 0))?;
        http::read_request_head(&mut server)?;
        server.write_all(&http::write_response(&exchange, exchange.closes_first == End::Client))?;
        let body_end = http::read_response_head(&mut client)?;
        Ok(Self { client: Some(client), server: Some(server), body_end, client_end, server_end })
    }

    /// Does what is to be done at this moment. A close over unread data is a reset, which is never sent again: it is done when
    /// it can arrive.
    pub(super) fn act(&mut self, row: &Row, moment: Moment) -> Result<(), ProbeError> {
        match (moment, row.closes_first, row.body) {
            (Moment::FirstFin, End::Server, _) => self.server = None,
            (Moment::FirstFin, End::Client, Body::Read) => self.read_and_close().map_err(failed)?,
            (Moment::FirstClosed, End::Client, Body::Closed) => self.client = None,
            (Moment::SecondFin, End::Server, Body::Read) => self.read_and_close().map_err(failed)?,
            (Moment::SecondFin, End::Client, Body::Read | Body::Closed) => self.server = None,
            (Moment::Settled, End::Server, Body::Closed) => self.client = None,
            _ => {}
        }
        Ok(())
    }

    fn read_and_close(&mut self) -> io::Result<()> {
        let Some(mut client) = self.client.take() else { return Ok(()) };
        http::read_body(&mut client, self.body_end)
    }

    /// Whether the tuple is that of one of the ends.
    pub(super) fn is_end(&self, tuple: &FourTuple) -> bool {
        let ends = (self.client_end, self.server_end);
        (tuple.local, tuple.remote) == ends || (tuple.remote, tuple.local) == ends
    }
}

fn failed(error: io::Error) -> ProbeError {
    ProbeError::Worker { worker: "an exchange", said: error.to_string() }
}
