//! The rows of the matrix: what is exchanged, what becomes of the body, and what the standards say must be seen. Pure.

use serde::Serialize;

use crate::model::state::TcpState;
use crate::probe::scenario::{End, Exchange, Framing, HttpVersion};

/// What the client does with the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// It closes the connection without having read it.
    Closed,
    /// It reads it to its end, and then closes when it is its turn.
    Read,
    /// Neither.
    Left,
}

impl Body {
    /// As it is printed.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Read => "read",
            Self::Left => "left",
        }
    }
}

/// The moments at which both ends are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The response has come, nobody has closed.
    Answered,
    /// Who closes first has closed; its FIN has not arrived.
    FirstFin,
    /// It has.
    FirstClosed,
    /// The other end has closed, if it does; its FIN has not arrived.
    SecondFin,
    /// Everything has arrived.
    Settled,
}

/// How many moments there are.
pub(super) const N_MOMENTS: usize = 5;

impl Moment {
    /// All of them, in order.
    pub const ALL: [Self; N_MOMENTS] =
        [Self::Answered, Self::FirstFin, Self::FirstClosed, Self::SecondFin, Self::Settled];
}

/// The states of client and server; `None` when no table has the socket any more.
pub(super) type Ends = (Option<TcpState>, Option<TcpState>);

/// The states at each moment.
pub(super) type Sequence = [Ends; N_MOMENTS];

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The version of HTTP.
    pub http: HttpVersion,
    /// How the end of the body is told.
    pub framing: Framing,
    /// Who closes first.
    pub closes_first: End,
    /// What the client does with the body.
    pub body: Body,
}

impl Row {
    /// Every combination, impossible ones too.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for http in [HttpVersion::V10, HttpVersion::V11] {
            for framing in [Framing::ContentLength, Framing::Chunked, Framing::UntilClose] {
                for closes_first in [End::Server, End::Client] {
                    for body in [Body::Closed, Body::Read, Body::Left] {
                        rows.push(Self { http, framing, closes_first, body });
                    }
                }
            }
        }
        rows
    }

    /// The exchange of this row.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        Exchange { version: self.http, framing: self.framing, closes_first: self.closes_first }
    }

    /// In words: `HTTP/1.1, content-length, the server closes first, body left`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}, body {}", self.exchange().words(), self.body.token())
    }

    /// What must be seen: the close sequence of RFC 9293 section 3.6, figures 5 and 12, or a reset (section 3.10.7.4), which
    /// a program sends that closes over unread data (RFC 2525 section 2.17, kernel `__tcp_close`).
    pub(super) fn expected(&self) -> Sequence {
        use TcpState::{CloseWait, Established, FinWait1, FinWait2, LastAck, TimeWait};
        let first = |first: [Option<TcpState>; N_MOMENTS], other: [Option<TcpState>; N_MOMENTS]| {
            let mut sequence = [(None, None); N_MOMENTS];
            for (nth, moment) in sequence.iter_mut().enumerate() {
                *moment = match self.closes_first {
                    End::Client => (first[nth], other[nth]),
                    End::Server => (other[nth], first[nth]),
                };
            }
            sequence
        };
        let open = Some(Established);
        match (self.closes_first, self.body) {
            (_, Body::Read) => first(
                [open, Some(FinWait1), Some(FinWait2), Some(FinWait2), Some(TimeWait)],
                [open, open, Some(CloseWait), Some(LastAck), None],
            ),
            (End::Server, Body::Closed) => first(
                [open, Some(FinWait1), Some(FinWait2), Some(FinWait2), None],
                [open, open, Some(CloseWait), Some(CloseWait), None],
            ),
            (End::Server, Body::Left) => first(
                [open, Some(FinWait1), Some(FinWait2), Some(FinWait2), Some(FinWait2)],
                [open, open, Some(CloseWait), Some(CloseWait), Some(CloseWait)],
            ),
            (End::Client, Body::Closed) => first([open, open, None, None, None], [open, open, None, None, None]),
            (End::Client, Body::Left) => first([open; N_MOMENTS], [open; N_MOMENTS]),
        }
    }

    /// Who may close, by the standards: the same for all rows of one version and framing. One sentence.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match (self.http, self.framing) {
            (HttpVersion::V10, Framing::ContentLength) => {
                "The length tells where the body ends, so either side may close once its part is done; by custom the server \
                 does (RFC 1945 section 1.3)."
            }
            (HttpVersion::V10, Framing::Chunked) => {
                "There is no such exchange: chunks are for HTTP/1.1 and later (RFC 9112 section 6.1)."
            }
            (HttpVersion::V10, Framing::UntilClose) => {
                "The body ends when the server closes, so the client can only follow (RFC 1945 section 7.2.2)."
            }
            (HttpVersion::V11, Framing::ContentLength) => {
                "The length tells where the body ends and the connection persists, so either side may close (RFC 9112 \
                 sections 6.3 and 9.6)."
            }
            (HttpVersion::V11, Framing::Chunked) => {
                "The empty chunk tells where the body ends and the connection persists, so either side may close (RFC 9112 \
                 sections 7.1 and 9.6)."
            }
            (HttpVersion::V11, Framing::UntilClose) => {
                "With neither length nor chunks only the server's close ends the body (RFC 9112 section 6.3)."
            }
        }
    }

    /// What to learn from the row: one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        if let Some(why) = self.exchange().impossible() {
            return format!("There is no such exchange: {why}.");
        }
        let lesson = match (self.closes_first, self.body) {
            (End::Server, Body::Read) => {
                "The client follows through CLOSE-WAIT and LAST-ACK, and the server keeps the TIME-WAIT for 2 MSL."
            }
            (End::Server, Body::Closed) => "To close over unread data sends a reset, and neither end keeps anything.",
            (End::Server, Body::Left) => {
                "The leak: CLOSE-WAIT until the process ends, long after the server's FIN-WAIT-2 has run out."
            }
            (End::Client, Body::Read) => {
                "The client keeps the TIME-WAIT and its port; it is the server that must close its CLOSE-WAIT."
            }
            (End::Client, Body::Closed) => {
                "To close over unread data sends a reset; the server's descriptor is a ghost until the server closes it."
            }
            (End::Client, Body::Left) => {
                "Who was to close does not, and both ends stay ESTABLISHED until the server loses patience."
            }
        };
        lesson.to_owned()
    }
}
