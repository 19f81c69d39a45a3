//! What other processes do for these tests: they hold sockets in the way that something is told of.

use std::any::Any;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::DESTINATION;
use crate::support::{close_wait, crowd, listen};

/// The listener of `waiting`, and how many it lets wait.
pub(crate) const LISTENER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 3), 7_000);
pub(crate) const BACKLOG: i32 = 10;

/// Plays a role with a number of sockets: `leak`, `busy`, `ghosts`, `waiting`; or one of the crowd with the worst names.
pub(crate) fn act(role: &str, number: &str) -> Box<dyn Any> {
    if role == crowd::ROLE {
        return Box::new(crowd::leak(number));
    }
    let n = number.parse().expect("a number");
    match role {
        "leak" => Box::new(leak(n)),
        "busy" => Box::new(busy(n)),
        "ghosts" => Box::new(ghosts(n)),
        "waiting" => Box::new(waiting(n)),
        other => panic!("no such role: {other}"),
    }
}

fn limit_descriptors(least: usize) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(least as u64), maximum: limit.maximum })
        .expect("below the hard limit");
}

/// Connections whose peer has closed, all of whose data and end are read.
fn leak(n: usize) -> impl Any {
    // Few of its descriptors.
    limit_descriptors(n * 4);
    let server = listen(DESTINATION);
    let mut sockets: Vec<TcpStream> = (0..n).map(|_| close_wait(&server)).collect();
    for socket in &mut sockets {
        assert_eq!(socket.read(&mut [0; 8]).expect("it ended well"), 0);
    }
    (server, sockets)
}

/// Connections in use, both ends of them, of which there are no more than four fifths of the descriptors that it may have.
fn busy(n: usize) -> impl Any {
    limit_descriptors(n * 5 / 2);
    let server = listen(DESTINATION);
    let connect = |_| (TcpStream::connect(DESTINATION).expect("connects"), server.accept().expect("accepts"));
    let pairs: Vec<_> = (0..n).map(connect).collect();
    (server, pairs)
}

/// Connections that the peer has reset.
fn ghosts(n: usize) -> impl Any {
    let server = listen(DESTINATION);
    let connect = |_| {
        let client = TcpStream::connect(DESTINATION).expect("connects");
        let (peer, _) = server.accept().expect("accepts");
        set_socket_linger(&peer, Some(Duration::ZERO)).expect("set");
        client
    };
    let clients: Vec<TcpStream> = (0..n).map(connect).collect();
    (server, clients)
}

/// Connections that nobody accepts.
fn waiting(n: usize) -> impl Any {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &LISTENER).expect("bound");
    rustix::net::listen(&socket, BACKLOG).expect("it listens");
    let clients: Vec<TcpStream> = (0..n).map(|_| TcpStream::connect(LISTENER).expect("connects")).collect();
    (TcpListener::from(socket), clients)
}
