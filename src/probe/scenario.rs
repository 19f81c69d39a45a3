//! What is reproduced: a version of HTTP, how the end of the body is told, who closes first, and which disease.

use serde::{Deserialize, Serialize};

/// The version that both ends speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.0 (RFC 1945): a connection is closed after each response.
    #[serde(rename = "1.0")]
    V10,
    /// HTTP/1.1 (RFC 9112): a connection persists unless somebody says otherwise.
    #[serde(rename = "1.1")]
    V11,
}

impl HttpVersion {
    /// As it is written on the wire after `HTTP/`, and typed.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
        }
    }
}

/// How the reader of a response knows that the body has ended (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// The head told how many bytes there are.
    ContentLength,
    /// The last chunk is empty.
    Chunked,
    /// The server closes the connection.
    UntilClose,
}

impl Framing {
    /// As it is typed and printed.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::ContentLength => "content-length",
            Self::Chunked => "chunked",
            Self::UntilClose => "until-close",
        }
    }
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The one that connected and asked.
    Client,
    /// The one that accepted and answered.
    Server,
}

impl End {
    /// As it is typed and printed.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// One exchange over HTTP, and who closes its connection first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The version.
    pub version: HttpVersion,
    /// How the body ends.
    pub framing: Framing,
    /// Who closes first. The other end is the one that can leak.
    pub closes_first: End,
}

impl Exchange {
    /// Why there is no such exchange; `None` when there is.
    #[must_use]
    pub fn impossible(&self) -> Option<&'static str> {
        match (self.version, self.framing, self.closes_first) {
            (HttpVersion::V10, Framing::Chunked, _) => {
                Some("HTTP/1.0 has no chunked bodies: they came with HTTP/1.1 (RFC 9112 section 6.1)")
            }
            (_, Framing::UntilClose, End::Client) => Some(
                "the server's close is the end of this body, and a client that closes before has cut it off (RFC 9112 section \
                 6.3)",
            ),
            _ => None,
        }
    }

    /// In words: `HTTP/1.1, content-length, the server closes first`.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { version, framing, closes_first } = self;
        format!("HTTP/{}, {}, the {} closes first", version.token(), framing.token(), closes_first.token())
    }
}

/// By which neglect the other end keeps its half of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The body is not read, and nothing is closed.
    UnreadBody,
    /// Everything is read, the end of file too, and nothing is closed.
    EofRead,
    /// As `UnreadBody`, watched by keepalive probes: when the peer's half has ended, a reset makes a ghost of it.
    Keepalive,
    /// The server's program does not call `accept()`.
    AcceptStalled,
    /// A pooled idle connection that a TLS peer ends: the bytes of its close_notify and the FIN lie unread.
    TlsPooled,
    /// As `UnreadBody`, but the program closes, and children that it had started before keep copies of the descriptors.
    ForkedChildren,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Self; 6] =
        [Self::UnreadBody, Self::EofRead, Self::Keepalive, Self::AcceptStalled, Self::TlsPooled, Self::ForkedChildren];

    /// As it is typed and printed.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::UnreadBody => "unread-body",
            Self::EofRead => "eof-read",
            Self::Keepalive => "keepalive",
            Self::AcceptStalled => "accept-stalled",
            Self::TlsPooled => "tls-pooled",
            Self::ForkedChildren => "forked-children",
        }
    }

    /// Who closes first where nobody said: that end for which the disease is named.
    #[must_use]
    pub fn usual_closer(self) -> End {
        match self {
            Self::AcceptStalled => End::Client,
            _ => End::Server,
        }
    }

    /// Why this neglect does not go with this exchange; `None` when it does.
    #[must_use]
    pub fn misfit(self, exchange: &Exchange) -> Option<&'static str> {
        match (self, exchange.closes_first, exchange.framing) {
            (Self::AcceptStalled, End::Server, _) => {
                Some("a server that does not accept has nothing to close: the client closes first")
            }
            (Self::TlsPooled, End::Client, _) => {
                Some("a client that closes keeps nothing in its pool: the server closes first")
            }
            (Self::TlsPooled, _, Framing::UntilClose) => {
                Some("a connection whose close ends the body cannot go into a pool: content-length or chunked can")
            }
            (Self::TlsPooled, ..) if exchange.version == HttpVersion::V10 => {
                Some("an HTTP/1.0 connection does not go into a pool: HTTP/1.1 has persistent ones")
            }
            (Self::ForkedChildren, End::Client, _) => {
                Some("it is the client that starts children here: the server closes first")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_says_why() {
        let exchange = |version, framing, closes_first| Exchange { version, framing, closes_first };
        assert!(exchange(HttpVersion::V10, Framing::Chunked, End::Server).impossible().is_some());
        assert!(exchange(HttpVersion::V11, Framing::UntilClose, End::Client).impossible().is_some());
        assert_eq!(exchange(HttpVersion::V11, Framing::UntilClose, End::Server).impossible(), None);
        for variant in Variant::ALL {
            let usual = exchange(HttpVersion::V11, Framing::ContentLength, variant.usual_closer());
            assert_eq!(variant.misfit(&usual), None, "{variant:?}");
        }
    }
}
