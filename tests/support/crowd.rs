//! Real processes with the worst names that the kernel lets them have: their executables, what they call themselves, and their
//! arguments.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use super::player::{Player, play};
use super::{close_wait, listen, settle};

/// How many sockets each of them leaks.
pub const LEAKED_EACH: usize = 12;

/// The role of a member of the crowd.
pub const ROLE: &str = "evil";

/// Names of files, of which some differ only in what has to be replaced or cut off.
fn names() -> Vec<Vec<u8>> {
    let long = |end: &str| format!("{}{end}", "\"\\\u{1b}".repeat(84)).into_bytes();
    vec![
        b"quo\"te's and \\back\\\\slash\\".to_vec(),
        b"line\nfeed\r\tand\x1b[2J\x1b]0;x\x07\x7f".to_vec(),
        b"\xff\xfe\x80 no text".to_vec(),
        b"\xff\xfe\x81 no text".to_vec(),
        "gr\u{f6}\u{df}er \u{202e}\u{65e5}".into(),
        "gr\u{fc}\u{df}er \u{202e}\u{65e5}".into(),
        b"|x=1;2 'q'=5 {#MACRO}{$M}%41 a,b=c # HELP $(id)`id`".to_vec(),
        b" (deleted)".to_vec(),
        long("1"),
        long("2"),
    ]
}

/// The crowd, until it is dropped.
pub struct Crowd {
    _members: Vec<Player>,
    _dir: tempfile::TempDir,
    /// How many they are.
    pub count: usize,
}

impl Crowd {
    /// Starts a process under each name. The test program's root must [`act`].
    pub fn gather() -> Self {
        // Where the test program is, so that it needs no copies.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let names = names();
        let members = names.iter().enumerate().map(|(nth, name)| start(dir.path(), nth, name)).collect();
        settle();
        Self { _members: members, _dir: dir, count: names.len() }
    }

    /// How many CLOSE-WAIT there are.
    pub fn leaked(&self) -> usize {
        self.count * LEAKED_EACH
    }
}

fn start(dir: &Path, nth: usize, name: &[u8]) -> Player {
    let place = if name.len() > 200 { deep(dir, nth) } else { dir.join(nth.to_string()) };
    fs::create_dir_all(&place).expect("made");
    let program = place.join(OsStr::from_bytes(name));
    let own = std::env::current_exe().expect("the test program has a path");
    if fs::hard_link(&own, &program).is_err() {
        fs::copy(&own, &program).expect("a copy");
    }
    // The name that a program is called by may be anything; a test program wants text.
    let called: String = String::from_utf8_lossy(name).chars().cycle().take(4096).collect();
    Player::start_as(&program, &format!("{ROLE} {nth}"), |command| {
        command.arg0(called);
    })
}

/// A directory whose path is as long as one may be with a name of 255 bytes and the kernel's ` (deleted)` behind it.
fn deep(dir: &Path, nth: usize) -> PathBuf {
    const LONGEST: usize = 4095 - 256 - 10;
    let mut place = dir.join(nth.to_string());
    loop {
        let left = LONGEST - place.as_os_str().len();
        if left < 2 {
            return place;
        }
        place.push("\u{1b}".repeat((left - 1).min(255)));
    }
}

/// Plays the role of a member: what the root of a test program with a crowd calls.
pub fn act() {
    play(|role, nth| {
        assert_eq!(role, ROLE);
        leak(nth)
    });
}

/// What a member does, and holds.
pub fn leak(nth: &str) -> Vec<TcpStream> {
    let nth: usize = nth.parse().expect("a number");
    // At most 15 bytes are taken (kernel `TASK_COMM_LEN`).
    let comm: Vec<u8> = names().swap_remove(nth).into_iter().take(15).collect();
    fs::write("/proc/self/comm", comm).expect("a process may name itself");
    let server = listen(&format!("127.0.1.{}:8086", nth + 1));
    (0..LEAKED_EACH).map(|_| close_wait(&server)).collect()
}
