//! A server that closes first: what leaks at its clients is their own doing.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// A server that answers `GET /N` with a body of N bytes and closes; `GET /reset` with a few bytes and a reset; and
/// `GET /late` with a few bytes and a close when they have long been read.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut lines = BufReader::new(stream.try_clone().expect("a descriptor"));
    while !head.ends_with(b"\r\n\r\n") {
        if lines.read_until(b'\n', &mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).expect("a path").trim_start_matches('/').to_owned();
    let length: usize = path.parse().unwrap_or(10);
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // A client may have gone.
    let _ = stream.write_all(response.as_bytes()).and_then(|()| stream.write_all(&vec![b'.'; length]));
    match path.as_str() {
        "reset" => set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option"),
        "late" => thread::sleep(Duration::from_millis(500)),
        _ => {}
    }
}
