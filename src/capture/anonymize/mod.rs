//! Other names for everything that is named: a recording that can be shown to strangers.
//!
//! | what | becomes |
//! |---|---|
//! | addresses | others of the same family and class (wildcard, loopback, link-local, private, multicast, global), with the prefixes that they share; loopback and wildcard stay |
//! | names of the host, of processes, executables, units, containers, users and namespaces | words of hexadecimal digits; equal names get equal digits wherever they stand |
//! | what a name says of its kind: `.service`, ` (deleted)`, `root`, `init`, the length of a container's id | stays, since remedies depend on it |
//! | user ids of 1000 and more | others of 1000 and more; those of the system stay |
//! | the boot id | another; the kernel's release is cut to its numbers |
//! | texts of gaps | the same with the names and addresses in them replaced |
//! | ports, pids, inodes, cookies, counts, times, limits | stay: they are numbers that the kernel gave, and what a report is about |
//!
//! What is replaced by what depends on a [`Key`] alone: with another key the same host looks like another one.

mod addresses;
mod key;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::addresses::Addresses;
pub use self::key::{Key, KeyError};
use crate::model::process::{Placement, Process};
use crate::model::snapshot::{Gap, Host, Namespace, NetNs, PortAnswers, Snapshot};
use crate::model::socket::SocketRecord;
use crate::model::tuple::{Endpoint, FourTuple};

/// Domains of the key beside those of addresses.
const NAME: u8 = b'n';
const CONTAINER: u8 = b'c';
const BOOT: u8 = b'b';

/// What a deleted executable's path ends with (`d_path`, kernel `fs/d_path.c`).
const DELETED: &str = " (deleted)";

/// Names below this length are no use for finding them in a text: they are parts of words.
const SHORTEST_IN_TEXT: usize = 3;

/// Replaces every name and address of the snapshot.
pub fn anonymize(snapshot: &mut Snapshot, key: &Key) {
    let mut mask = Mask { key, addresses: Addresses::new(key), seen: HashMap::new(), names: BTreeMap::new() };
    // Every part is named, so that one that is added cannot be forgotten here.
    let Snapshot {
        taken_at: _,
        host,
        source: _,
        namespaces,
        sockets,
        processes,
        holdings: _,
        scan: _,
        limits: _,
        gaps,
        file: _,
        ghosts,
        cgroups,
    } = snapshot;
    mask.host(host);
    namespaces.iter_mut().for_each(|namespace| mask.namespace(namespace));
    sockets.iter_mut().for_each(|socket| mask.socket(socket));
    processes.iter_mut().for_each(|process| mask.process(process));
    cgroups.iter_mut().for_each(|cgroup| mask.placement(&mut cgroup.placement));
    let ghosts = ghosts.iter_mut().flat_map(|scan| &mut scan.ghosts);
    ghosts.for_each(|ghost| ghost.local = ghost.local.map(|local| mask.endpoint(local)));
    // Last, when all names are known.
    gaps.iter_mut().for_each(|gap| mask.gap(gap));
}

/// What stands for what.
struct Mask<'a> {
    key: &'a Key,
    addresses: Addresses<'a>,
    /// Addresses that were replaced before.
    seen: HashMap<IpAddr, IpAddr>,
    /// Names that were replaced before, to be found in texts.
    names: BTreeMap<String, String>,
}

impl Mask<'_> {
    fn host(&mut self, host: &mut Host) {
        let Host { name, kernel, boot_id, uptime: _ } = host;
        replace(name, |name| self.name("host", name));
        replace(boot_id, |id| self.boot_id(id));
        replace(kernel, |release| {
            let numbers = release.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
            release[..numbers].trim_end_matches('.').to_owned()
        });
    }

    fn namespace(&mut self, namespace: &mut Namespace) {
        let Namespace { id, ports: _, sockstat: _, counters: _, conntrack: _, answers, took: _, source: _ } = namespace;
        let NetNs { inode: _, name, container, runtime: _, pod, unit } = id;
        *name = self.netns(name);
        replace(unit, |unit| self.unit(unit));
        replace(container, |id| self.container(id));
        replace(pod, |id| self.container(id));
        let PortAnswers { shared: _, time_wait, bind } = answers;
        *time_wait = std::mem::take(time_wait).into_iter().map(|(tuple, to)| (self.tuple(tuple), to)).collect();
        *bind = std::mem::take(bind).into_iter().map(|(local, to)| (self.endpoint(local), to)).collect();
    }

    fn socket(&mut self, socket: &mut SocketRecord) {
        socket.tuple = self.tuple(socket.tuple);
        socket.uid = socket.uid.map(|uid| self.addresses.replace_uid(uid));
    }

    fn process(&mut self, process: &mut Process) {
        let Process {
            key: _,
            name,
            started_at: _,
            exe,
            uid,
            user,
            placement,
            netns: _,
            fds_open: _,
            fds_limit: _,
            runtime: _,
        } = process;
        *name = self.name("proc", name);
        replace(exe, |path| self.path(path));
        replace(user, |user| if user == "root" { user.to_owned() } else { self.name("user", user) });
        *uid = uid.map(|uid| self.addresses.replace_uid(uid));
        if let Some(placement) = placement {
            self.placement(placement);
        }
    }

    fn placement(&mut self, placement: &mut Placement) {
        let Placement { unit, container, runtime: _, pod } = placement;
        replace(unit, |unit| self.unit(unit));
        replace(container, |id| self.container(id));
        replace(pod, |id| self.container(id));
    }

    /// The texts are the program's own, with names in between.
    fn gap(&self, gap: &mut Gap) {
        let Gap { what, why, hides: _, count: _ } = gap;
        *what = self.text(what);
        *why = self.text(why);
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        *self.seen.entry(address).or_insert_with(|| self.addresses.replace(address))
    }

    fn endpoint(&mut self, endpoint: Endpoint) -> Endpoint {
        Endpoint { address: self.address(endpoint.address), port: endpoint.port }
    }

    fn tuple(&mut self, tuple: FourTuple) -> FourTuple {
        FourTuple { local: self.endpoint(tuple.local), remote: self.endpoint(tuple.remote) }
    }

    /// A name for a name. The digits depend on the name alone, so that one that stands in several places can be followed.
    /// With its word it fits into the 15 bytes of a process's name.
    fn name(&mut self, word: &str, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        let replaced = format!("{word}-{:010x}", self.key.bits(NAME, name.as_bytes()) >> 24);
        self.names.entry(name.to_owned()).or_insert_with(|| replaced.clone());
        replaced
    }

    /// The names that the program gives itself stay.
    fn netns(&mut self, name: &str) -> String {
        let own = matches!(name, "init" | "current")
            || name.strip_prefix("pid ").is_some_and(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
        if own { name.to_owned() } else { self.name("netns", name) }
    }

    /// `telegraf.service` becomes `unit-….service`; the manager of a user stays one.
    fn unit(&mut self, unit: &str) -> String {
        let (stem, kind) = unit.rsplit_once('.').map_or((unit, ""), |(stem, _)| (stem, &unit[stem.len()..]));
        let replaced = match stem.strip_prefix("user@") {
            Some(user) => match user.parse() {
                Ok(uid) => format!("user@{}{kind}", self.addresses.replace_uid(uid)),
                Err(_) => format!("user@{}{kind}", self.name("user", user)),
            },
            None => format!("{}{kind}", self.name("unit", stem)),
        };
        self.names.insert(unit.to_owned(), replaced.clone());
        replaced
    }

    /// An id of hexadecimal digits becomes another of that length; a name becomes a name.
    fn container(&mut self, id: &str) -> String {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return self.name("container", id);
        }
        let mut replaced = String::new();
        for nth in 0_u64.. {
            let bits = self.key.bits(CONTAINER, &[&nth.to_be_bytes(), id.as_bytes()].concat());
            replaced.push_str(&format!("{bits:016x}"));
            if replaced.len() >= id.len() {
                break;
            }
        }
        replaced.truncate(id.len());
        self.names.insert(id.to_owned(), replaced.clone());
        replaced
    }

    fn boot_id(&self, id: &str) -> String {
        let half = |nth: u8| self.key.bits(BOOT, &[&[nth], id.as_bytes()].concat());
        let digits = format!("{:016x}{:016x}", half(0), half(1));
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    }

    /// The last part as the name of a process would be replaced, so that both can be told to be one.
    fn path(&mut self, path: &Path) -> PathBuf {
        let (bytes, deleted) = match path.as_os_str().as_bytes().strip_suffix(DELETED.as_bytes()) {
            Some(bytes) => (bytes, DELETED),
            None => (path.as_os_str().as_bytes(), ""),
        };
        let last = Path::new(OsStr::from_bytes(bytes)).file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        let replaced = format!("/{}{deleted}", self.name("proc", &last));
        self.names.insert(path.to_string_lossy().into_owned(), replaced.clone());
        replaced.into()
    }

    /// The text with every name that is known, every address, and every path outside of `/proc` and `/sys` replaced.
    fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut at_start_of_word = true;
        while let Some(first) = rest.chars().next() {
            let replaced = if at_start_of_word { self.begin_of(rest) } else { None };
            let taken = match replaced {
                Some((length, replaced)) => {
                    out.push_str(&replaced);
                    length
                }
                None => {
                    out.push(first);
                    first.len_utf8()
                }
            };
            let last = rest[..taken].chars().next_back().unwrap_or(first);
            at_start_of_word = !is_of_word(last);
            rest = &rest[taken..];
        }
        out
    }

    /// What stands for the beginning of the text, and how long that beginning is.
    fn begin_of(&self, text: &str) -> Option<(usize, String)> {
        let whole = |length: usize| !text[length..].chars().next().is_some_and(is_of_word);
        let known = self.names.iter().filter(|(name, _)| name.len() >= SHORTEST_IN_TEXT && text.starts_with(*name));
        let longest = known.filter(|(name, _)| whole(name.len())).max_by_key(|(name, _)| name.len());
        if let Some((name, replaced)) = longest {
            return Some((name.len(), replaced.clone()));
        }
        let word = text.split(|c: char| c.is_whitespace() || "(),;'\"`".contains(c)).next().unwrap_or_default();
        let word = word.trim_end_matches([':', '.']);
        let replaced = match (word.parse::<IpAddr>(), word.parse::<SocketAddr>()) {
            (Ok(address), _) => self.addresses.replace(address.to_canonical()).to_string(),
            (_, Ok(address)) => {
                let Endpoint { address, port } = Endpoint::new(address.ip(), address.port());
                Endpoint { address: self.addresses.replace(address), port }.to_string()
            }
            _ if is_private_path(word) => format!("/path-{:010x}", self.key.bits(NAME, word.as_bytes()) >> 24),
            _ => return None,
        };
        Some((word.len(), replaced))
    }
}

/// Replaces what is there.
fn replace<T>(value: &mut Option<T>, by: impl FnOnce(&T) -> T) {
    if let Some(there) = value {
        *there = by(there);
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || "_-/".contains(c)
}

fn is_private_path(word: &str) -> bool {
    const PUBLIC: [&str; 3] = ["/proc", "/sys", "/etc/passwd"];
    word.len() > 1 && word.starts_with('/') && !PUBLIC.iter().any(|public| Path::new(word).starts_with(public))
}
