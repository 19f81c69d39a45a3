//! A copy of the test program that plays a part of its own: another process, whose descriptors no test shares.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Names the part that a copy of this test program plays.
pub const ROLE: &str = "CLOSEWATCH_TEST_ROLE";

/// A copy of this test program, running as the child of a test until it is dropped. It runs the test
/// `a_player_plays_its_role` of the test program's root, which calls [`play`].
pub struct Player {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Kept open, so that it may go on printing.
    _stdout: BufReader<ChildStdout>,
}

impl Player {
    /// Starts the copy in a role, and waits until it says `ready`. `set_up` may change how it is started.
    pub fn start(role: &str, set_up: impl FnOnce(&mut Command)) -> Self {
        Self::start_as(&std::env::current_exe().expect("the test program has a path"), role, set_up)
    }

    /// The same from this file, which is this test program under another name.
    pub fn start_as(program: &Path, role: &str, set_up: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program);
        command.args(["--exact", "a_player_plays_its_role", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        set_up(&mut command);
        let mut child = command.spawn().expect("the copy starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let is_ready = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("ready"));
        assert!(stdout.by_ref().lines().any(is_ready), "the player of {role} is ready");
        let stdin = child.stdin.take();
        Self { child, stdin, _stdout: stdout }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a copy: plays the role that it was given with its argument, says `ready`, and keeps what the role returns until the
/// test drops the player. In the test run itself this does nothing.
pub fn play<T>(act: impl FnOnce(&str, &str) -> T) {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, argument) = role.split_once(' ').unwrap_or((&role, ""));
    let _kept = act(role, argument);
    let mut out = std::io::stdout();
    out.write_all(b"\nready\n").and_then(|()| out.flush()).expect("the test listens");
    // The end of the input is the end of the role.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
