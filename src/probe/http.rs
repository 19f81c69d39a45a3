//! As much of HTTP/1 as it takes to leak for real: heads written by hand, read by `httparse`, and bodies framed in every way.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

use super::scenario::{End, Exchange, Framing};

/// So many bytes a body has: enough to be seen in a receive queue, too few to hold up the FIN behind them.
pub(super) const BODY_BYTES: usize = 1024;
/// No head is as long as this; one that is comes from something that is no HTTP server.
const LONGEST_HEAD: usize = 16 * 1024;
/// No head has as many fields as this.
const MOST_FIELDS: usize = 64;

/// The record with which a TLS 1.3 peer ends a session: an alert in a record of 19 encrypted bytes (RFC 8446 sections 5.2
/// and 6.1). What the kernel sees is its length; the bytes stand for ciphertext.
pub(super) const CLOSE_NOTIFY: [u8; 24] = {
    let mut record = [0x5a; 24];
    record[0] = 23;
    record[1] = 3;
    record[2] = 3;
    record[3] = 0;
    record[4] = 19;
    record
};

/// How the end of a message is known, as its head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// After so many bytes.
    After(u64),
    /// After an empty chunk.
    EmptyChunk,
    /// At the end of the connection.
    Close,
}

/// The head of a request; `body` bytes follow it.
pub(super) fn write_request(path: &str, host: &str, exchange: &Exchange, body: usize) -> Vec<u8> {
    let method = if body > 0 { "POST" } else { "GET" };
    let version = exchange.version.token();
    let connection = if exchange.closes_first == End::Server { "Connection: close\r\n" } else { "" };
    let length = if body > 0 { format!("Content-Length: {body}\r\n") } else { String::new() };
    let agent = concat!("closewatch-probe/", env!("CARGO_PKG_VERSION"));
    let mut bytes =
        format!("{method} {path} HTTP/{version}\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{connection}{length}\r\n")
            .into_bytes();
    bytes.resize(bytes.len() + body, b'.');
    bytes
}

/// How many bytes the body of a response has on the wire, its chunks' sizes and line ends counted.
pub(super) fn body_length(framing: Framing) -> usize {
    write_body(framing).len()
}

fn write_body(framing: Framing) -> Vec<u8> {
    let body = [b'.'; BODY_BYTES];
    if framing != Framing::Chunked {
        return body.to_vec();
    }
    let mut bytes = Vec::new();
    for chunk in body.chunks(BODY_BYTES / 2) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// A whole response. `stays_open` says that the connection persists.
pub(super) fn write_response(exchange: &Exchange, stays_open: bool) -> Vec<u8> {
    let version = exchange.version.token();
    let connection = if stays_open { "" } else { "Connection: close\r\n" };
    let framing = match exchange.framing {
        Framing::ContentLength => format!("Content-Length: {BODY_BYTES}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::UntilClose => String::new(),
    };
    let mut bytes =
        format!("HTTP/{version} 200 OK\r\nContent-Type: text/plain\r\n{connection}{framing}\r\n").into_bytes();
    bytes.extend(write_body(exchange.framing));
    bytes
}

/// Reads a response's head and not one byte of its body, which stays in the kernel's queue.
///
/// # Errors
/// Those of the socket, and `InvalidData` for what is no head of HTTP/1.
pub(super) fn read_response_head(stream: &mut TcpStream) -> io::Result<BodyEnd> {
    read_head(stream, |bytes| {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let status = response.parse(bytes).map_err(not_http)?;
        Ok(status.is_complete().then(|| body_end(response.headers, BodyEnd::Close)))
    })
}

/// Reads a request's head and not one byte of its body.
///
/// # Errors
/// As [`read_response_head`].
pub(super) fn read_request_head(stream: &mut TcpStream) -> io::Result<BodyEnd> {
    read_head(stream, |bytes| {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let status = request.parse(bytes).map_err(not_http)?;
        Ok(status.is_complete().then(|| body_end(request.headers, BodyEnd::After(0))))
    })
}

/// Takes lines until `parse` has a whole head. A byte at a time would be a system call each: so lines are looked for in what
/// `peek` shows, and no more than they is taken.
fn read_head(stream: &mut TcpStream, parse: impl Fn(&[u8]) -> io::Result<Option<BodyEnd>>) -> io::Result<BodyEnd> {
    let mut head = Vec::new();
    let mut shown = [0; 2048];
    loop {
        let n_shown = stream.peek(&mut shown)?;
        if n_shown == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line_end = shown[..n_shown].iter().position(|byte| *byte == b'\n');
        let n_taken = line_end.map_or(n_shown, |end| end + 1);
        stream.read_exact(&mut shown[..n_taken])?;
        head.extend_from_slice(&shown[..n_taken]);
        if line_end.is_some()
            && let Some(end) = parse(&head)?
        {
            return Ok(end);
        }
        if head.len() > LONGEST_HEAD {
            return Err(io::Error::new(ErrorKind::InvalidData, "the head has no end"));
        }
    }
}

fn not_http(error: httparse::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("this is not HTTP/1: {error}"))
}

fn body_end(fields: &[httparse::Header<'_>], otherwise: BodyEnd) -> BodyEnd {
    let value = |name: &str| {
        let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    };
    if value("Transfer-Encoding").is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked")) {
        return BodyEnd::EmptyChunk;
    }
    value("Content-Length").and_then(|length| length.trim().parse().ok()).map_or(otherwise, BodyEnd::After)
}

/// Reads a body to its end, and no further: where the end of the connection is not the end of the body, it stays unread.
///
/// # Errors
/// Those of the socket, and `InvalidData` for chunks that are none.
pub(super) fn read_body(stream: &mut TcpStream, end: BodyEnd) -> io::Result<()> {
    match end {
        BodyEnd::After(length) => skip(stream, length),
        BodyEnd::Close => read_to_close(stream),
        BodyEnd::EmptyChunk => loop {
            let line = read_line(stream)?;
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size.trim(), 16).ok());
            let size = size.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a chunk has no size"))?;
            skip(stream, size)?;
            // The line end after a chunk; after the last one, that of the empty trailer.
            read_line(stream)?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}

/// Reads until the peer's close.
///
/// # Errors
/// Those of the socket.
pub(super) fn read_to_close(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

fn skip(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let n_read = io::copy(&mut stream.take(length), &mut io::sink())?;
    if n_read == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn read_line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 128 {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(line);
        }
        line.push(byte[0]);
    }
    Err(io::Error::new(ErrorKind::InvalidData, "a line of a chunked body has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::scenario::HttpVersion;
    use std::io::Write;
    use std::net::TcpListener;

    /// Both ends of a connection, one of which has sent these bytes and closed.
    fn after(bytes: &[u8]) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        client.write_all(bytes).expect("writes");
        listener.accept().expect("accepts").0
    }

    #[test]
    fn a_head_is_read_and_the_body_stays() {
        for framing in [Framing::ContentLength, Framing::Chunked, Framing::UntilClose] {
            for version in [HttpVersion::V10, HttpVersion::V11] {
                let exchange = Exchange { version, framing, closes_first: End::Server };
                let response = write_response(&exchange, false);
                let mut stream = after(&response);
                let end = read_response_head(&mut stream).expect("a head");
                let expected = match framing {
                    Framing::ContentLength => BodyEnd::After(BODY_BYTES as u64),
                    Framing::Chunked => BodyEnd::EmptyChunk,
                    Framing::UntilClose => BodyEnd::Close,
                };
                assert_eq!(end, expected);
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).expect("a body");
                assert!(response.ends_with(&rest) && rest.len() >= BODY_BYTES, "{} bytes", rest.len());
            }
        }
    }

    #[test]
    fn a_body_is_read_to_its_end_and_no_further() {
        for framing in [Framing::ContentLength, Framing::Chunked] {
            let exchange = Exchange { version: HttpVersion::V11, framing, closes_first: End::Server };
            let mut bytes = write_response(&exchange, true);
            bytes.extend(CLOSE_NOTIFY);
            let mut stream = after(&bytes);
            let end = read_response_head(&mut stream).expect("a head");
            read_body(&mut stream, end).expect("a body");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the rest");
            assert_eq!(rest, CLOSE_NOTIFY, "{framing:?}");
        }
    }

    #[test]
    fn what_is_no_http_is_an_error() {
        for bytes in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"HTTP/1.1 200", b""] {
            assert!(read_response_head(&mut after(bytes)).is_err(), "{bytes:?}");
        }
        let exchange =
            Exchange { version: HttpVersion::V11, framing: Framing::ContentLength, closes_first: End::Client };
        let request = write_request("/", "localhost", &exchange, 7);
        assert_eq!(read_request_head(&mut after(&request)).expect("a head"), BodyEnd::After(7));
    }
}
