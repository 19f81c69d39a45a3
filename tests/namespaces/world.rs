//! Namespaces with programs in them, made for a test and gone with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::support::player::Player;
use crate::support::{run, text, wait_until};

/// The port that every server listens on; outside of every range.
pub(crate) const PORT: u16 = 8080;

/// Puts the calling thread, and what it starts, into a mount namespace of its own, in which `/run` is empty: what `ip
/// netns` writes there nobody else sees, and it is gone with the test.
pub(crate) fn enter_own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root of this user namespace may");
    run("mount", &["--make-rprivate", "/"]);
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    std::fs::create_dir("/run/netns").expect("/run is empty");
}

/// A network namespace.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    /// Where it can be entered.
    pub(crate) path: PathBuf,
    /// What `ip link set netns` takes.
    id: String,
    /// Its inode.
    pub(crate) inode: u64,
}

impl Net {
    /// One that `ip netns` makes and names.
    pub(crate) fn add(name: &str) -> Self {
        run("ip", &["netns", "add", name]);
        let net = Self::at(PathBuf::from("/run/netns").join(name), name);
        net.run("ip", &["link", "set", "lo", "up"]);
        net
    }

    /// That of a process.
    pub(crate) fn of(pid: u32) -> Self {
        let net = Self::at(PathBuf::from(format!("/proc/{pid}/ns/net")), &pid.to_string());
        net.run("ip", &["link", "set", "lo", "up"]);
        net
    }

    fn at(path: PathBuf, id: &str) -> Self {
        let inode = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).ino();
        Self { path, id: id.to_owned(), inode }
    }

    /// Runs a command in it, which must succeed.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        let enter = format!("--net={}", self.path.display());
        text(&run("nsenter", &[&[enter.as_str(), program], args].concat()).stdout)
    }

    /// Makes a command run in it.
    pub(crate) fn around(&self, command: &mut Command) {
        wrap(command, Command::new("nsenter").arg(format!("--net={}", self.path.display())));
    }

    /// How many sockets `ss` counts in each state.
    pub(crate) fn ss_states(&self) -> BTreeMap<String, u64> {
        let mut states = BTreeMap::new();
        for line in self.run("ss", &["-Htan"]).lines() {
            let state = line.split_whitespace().next().expect("a row of ss begins with its state");
            *states.entry(state.to_owned()).or_insert(0) += 1;
        }
        states
    }
}

/// Makes a command run by another one, with the same environment and pipes.
pub(crate) fn wrap(command: &mut Command, outer: &Command) {
    let mut wrapped = Command::new(outer.get_program());
    wrapped.args(outer.get_args()).arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped.stdin(Stdio::piped()).stdout(Stdio::piped());
    *command = wrapped;
}

/// A namespace with a server that closes at once, and a client that does not.
pub(crate) struct Station {
    /// Its name in `ip netns`.
    pub(crate) name: Option<String>,
    pub(crate) net: Net,
    pub(crate) range: (u16, u16),
    pub(crate) n_leaked: u64,
    pub(crate) server: Player,
    client: Option<Player>,
}

impl Station {
    pub(crate) fn client(&self) -> u32 {
        self.client.as_ref().expect("it leaks").pid()
    }
}

/// Four namespaces in a ring, each of which leaks to the next; the last has no name.
pub(crate) fn ring() -> Vec<Station> {
    let names = [Some("cw-blue"), Some("cw-green"), Some("cw-red"), None].map(|name| name.map(unique));
    let mut stations: Vec<Station> = names.into_iter().zip(0..).map(|(name, nth)| station(name, nth)).collect();
    let n = stations.len();
    for from in 0..stations.len() {
        join(&stations[from].net, &stations[(from + 1) % n].net, from);
        let role = format!("leak {} {}", service_of(from), stations[from].n_leaked);
        let client = Player::start(&role, |command| stations[from].net.around(command));
        stations[from].client = Some(client);
    }
    for station in &stations {
        wait_until("every FIN to be acknowledged", || !station.net.ss_states().contains_key("FIN-WAIT-1"));
    }
    stations
}

/// A name that no other test gives at the same time: namesakes are told apart by their numbers.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn station(name: Option<String>, nth: u16) -> Station {
    let role = format!("serve 0.0.0.0:{PORT}");
    let (net, server) = match &name {
        Some(name) => {
            let net = Net::add(name);
            let server = Player::start(&role, |command| net.around(command));
            (net, server)
        }
        None => {
            let server = Player::start(&role, |command| wrap(command, Command::new("unshare").arg("--net")));
            (Net::of(server.pid()), server)
        }
    };
    let range = (41_000 + nth * 1_000, 41_099 + nth * 1_000);
    let setting = format!("echo {} {} > /proc/sys/net/ipv4/ip_local_port_range", range.0, range.1);
    net.run("sh", &["-c", &setting]);
    Station { name, net, range, n_leaked: 11 + u64::from(nth), server, client: None }
}

/// Where the station after this one listens.
pub(crate) fn service_of(nth: usize) -> String {
    format!("{}:{PORT}", address(nth, 2))
}

/// One of the two addresses of the cable with this number. No other test has the same at the same time: connections between
/// the same addresses cannot be told apart across namespaces.
fn address(cable: usize, end: usize) -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("10.{high}.{low}.{}", 4 * cable + end)
}

/// Joins two namespaces by a cable: the first of its addresses here, the second there.
fn join(here: &Net, there: &Net, nth: usize) {
    let (near, far) = (format!("near{nth}"), format!("far{nth}"));
    run("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far]);
    for (net, link, last) in [(here, &near, 1), (there, &far, 2)] {
        run("ip", &["link", "set", link, "netns", &net.id]);
        net.run("ip", &["address", "add", &format!("{}/30", address(nth, last)), "dev", link]);
        net.run("ip", &["link", "set", link, "up"]);
    }
}

/// What the copies of the test program do.
pub(crate) fn act(role: &str, argument: &str) -> Vec<Box<dyn std::any::Any>> {
    match (role, argument.split_once(' ')) {
        ("serve", None) => {
            let listener = TcpListener::bind(argument).expect("bound");
            thread::spawn(move || listener.incoming().for_each(drop));
            Vec::new()
        }
        ("leak", Some((address, n))) => {
            let n: usize = n.parse().expect("a number");
            let leaked: Vec<TcpStream> = (0..n).map(|_| leak(address)).collect();
            vec![Box::new(leaked)]
        }
        ("listen-and-leave", None) => vec![Box::new(listen_in(argument))],
        ("listen-and-keep-a-descriptor", None) => {
            vec![Box::new(File::open(argument).expect("opened")), Box::new(listen_in(argument))]
        }
        ("listen-and-keep-a-thread", None) => vec![Box::new(stay_and_listen_in(argument))],
        ("crowd", None) => (0..argument.parse().expect("a number")).map(|_| Box::new(resident()) as _).collect(),
        other => panic!("no such role: {other:?}"),
    }
}

/// A connection whose peer has closed.
fn leak(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    let mut byte = [0];
    // The end of the stream says that the FIN has come; a leaking program may read it or not.
    assert_eq!(stream.read(&mut byte).expect("the peer closes in order"), 0);
    stream
}

/// A listener in that namespace, opened by a thread that goes there and ends; this process stays where it is.
fn listen_in(path: &str) -> TcpListener {
    let file = File::open(path).expect("opened");
    thread::spawn(move || enter_and_listen(file)).join().expect("bound")
}

/// The same by a thread that stays.
fn stay_and_listen_in(path: &str) -> TcpListener {
    let file = File::open(path).expect("opened");
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        sender.send(enter_and_listen(file)).expect("awaited");
        loop {
            thread::park();
        }
    });
    receiver.recv().expect("bound")
}

/// The descriptor of the namespace is closed when the thread has entered.
fn enter_and_listen(file: File) -> TcpListener {
    setns(file, CloneFlags::CLONE_NEWNET).expect("entered");
    TcpListener::bind(("127.0.0.1", PORT)).expect("bound")
}

/// A thread in a namespace of its own, with a listener and three connections.
fn resident() -> Vec<TcpStream> {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("made");
        // A short range: what is measured is the reading, not what a build for tests takes to count ports.
        run("sh", &["-c", "ip link set lo up; echo 41000 41099 > /proc/sys/net/ipv4/ip_local_port_range"]);
        let listener = TcpListener::bind(("127.0.0.1", PORT)).expect("bound");
        let connect = |_| TcpStream::connect(("127.0.0.1", PORT)).expect("connects");
        sender.send((0..3).map(connect).collect()).expect("awaited");
        listener.incoming().collect::<Vec<_>>()
    });
    receiver.recv().expect("connected")
}
