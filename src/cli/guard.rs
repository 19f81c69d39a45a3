//! What keeps a check to its contract with a monitoring system: it ends in time, and with a status that the system knows.

use std::any::Any;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exit::Exit;
use crate::model::text::printable;
use crate::model::wording::span;
use crate::render::{self, Format};

/// Where the last words of a check are heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Standard output, in the form of a monitoring plugin.
    Plugin,
    /// Standard error: what reads standard output expects a document.
    Program,
    /// Standard output, as a document of its own: the agent of Zabbix takes both streams for one.
    Zabbix,
}

impl Voice {
    /// The line that says why there is no verdict.
    fn line(self, why: &str) -> String {
        match self {
            Self::Program => format!("closewatch: {}\n", printable(why)),
            Self::Plugin => status_line(why),
            Self::Zabbix => self.on_stdout(&printable(why)).unwrap_or_default(),
        }
    }

    /// The same, where it is said on standard output, of a reason that is safe to print.
    pub(super) fn on_stdout(self, why: &str) -> Option<String> {
        match self {
            Self::Plugin => Some(status_line(why)),
            Self::Zabbix => render::failure(Format::Zabbix, why),
            Self::Program => None,
        }
    }
}

/// `CLOSEWATCH UNKNOWN - reading the policy: no such file`. Behind a `|` a plugin has numbers.
fn status_line(why: &str) -> String {
    format!("CLOSEWATCH UNKNOWN - {}\n", printable(why).replace('|', "\\u{7c}"))
}

/// The right to say how a check ended, which is used once: a verdict and a word that there is none would be two answers.
#[derive(Debug, Clone)]
pub(super) struct LastWord {
    voice: Voice,
    is_taken: Arc<AtomicBool>,
}

impl LastWord {
    /// Of a check whose reader listens there.
    pub(super) fn new(voice: Voice) -> Self {
        Self { voice, is_taken: Arc::default() }
    }

    /// Whether nothing was said yet: whoever is told so says it.
    pub(super) fn take(&self) -> bool {
        !self.is_taken.swap(true, Ordering::AcqRel)
    }

    /// What was to be said could not be: why not is still to be told.
    pub(super) fn give_back(&self) {
        self.is_taken.store(false, Ordering::Release);
    }

    fn say(&self, why: &str) {
        if self.take() {
            say(self.voice, why);
        }
    }
}

/// Does the work. When it panics, one line says so, and the status is that of a check that could not look: the runtime's
/// own, 101, is out of bounds for Nagios.
pub(super) fn without_panic(word: &LastWord, work: impl FnOnce() -> Result<Exit>) -> Result<Exit> {
    let word = word.clone();
    panic::set_hook(Box::new(move |panic| word.say(&described(panic))));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Ok(Exit::Failed))
}

fn described(panic: &PanicHookInfo<'_>) -> String {
    let at =
        panic.location().map_or_else(String::new, |location| format!(" at {}:{}", location.file(), location.line()));
    format!("closewatch panicked{at}, a bug worth a report: {}", message(panic.payload()))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Ends the program when so much time has passed, whatever it does then: the look ends by itself before, but a file that
/// hangs or a reader that does not read can be waited for without an end.
pub(super) fn end_after(limit: Duration, word: &LastWord) {
    let word = word.clone();
    let watch = move || {
        thread::sleep(limit);
        word.say(&format!("no verdict within {}", span(limit)));
        process::exit(Exit::Failed.status().into());
    };
    // Where no more threads can be made, the look still ends by its own deadline.
    let _ = thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
}

/// Says the last words, if anybody can take them at once: who does not read is not waited for.
fn say(voice: Voice, why: &str) {
    let line = voice.line(why);
    match voice {
        Voice::Program => {
            // When standard error is closed there is nobody left to tell.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        Voice::Plugin | Voice::Zabbix => {
            let stdout = rustix::stdio::stdout();
            let is_ready = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], Some(&Timespec::default()));
            if is_ready.is_ok_and(|ready| ready > 0) {
                // The lock of `io::stdout` may be held by the thread that hangs. What cannot be written is lost.
                let _ = rustix::io::write(stdout, line.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the copy of the test program that ends in the way that is tested.
    const ENDING: &str = "CLOSEWATCH_TEST_ENDING";

    /// How a copy of this test program ends, and what it says on its standard output and error.
    fn end(test: &str, ending: &str) -> (Option<i32>, String, String) {
        let test = format!("{}::{test}", module_path!().split_once("::").expect("a path in the crate").1);
        let mut copy = Command::new(std::env::current_exe().expect("the test program has a path"));
        copy.args(["--exact", &test, "--nocapture", "--test-threads=1"]).env(ENDING, ending);
        let output = copy.output().expect("the copy starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn panicking() -> Result<Exit> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let none: Option<u8> = std::hint::black_box(None);
                none.expect("a | worker\nbroke")
            });
            worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        });
        Ok(Exit::Done)
    }

    #[test]
    fn a_panic_is_one_line_and_a_status_that_nagios_knows() {
        match std::env::var(ENDING).as_deref() {
            Ok("plugin") => process::exit(match without_panic(&LastWord::new(Voice::Plugin), panicking) {
                Ok(exit) => exit.status().into(),
                Err(_) => 99,
            }),
            Ok("program") => process::exit(match without_panic(&LastWord::new(Voice::Program), panicking) {
                Ok(exit) => exit.status().into(),
                Err(_) => 99,
            }),
            _ => {}
        }
        let test = "a_panic_is_one_line_and_a_status_that_nagios_knows";
        let (code, stdout, stderr) = end(test, "plugin");
        let line = stdout.lines().find(|line| line.contains("CLOSEWATCH")).expect("it says why");
        assert_eq!(code, Some(3), "{stdout}{stderr}");
        let begin = "CLOSEWATCH UNKNOWN - closewatch panicked at src/cli/guard.rs:";
        assert!(line.contains(begin) && line.ends_with("report: a \\u{7c} worker\\nbroke"), "{line}");
        assert_eq!((stdout.matches("panicked").count(), stderr.as_str()), (1, ""), "{stdout}");
        let (code, _, stderr) = end(test, "program");
        assert_eq!(code, Some(3));
        assert!(stderr.starts_with("closewatch: closewatch panicked") && stderr.lines().count() == 1, "{stderr}");
    }

    #[test]
    fn work_that_hangs_is_ended() {
        if std::env::var(ENDING).is_ok() {
            end_after(Duration::from_millis(50), &LastWord::new(Voice::Plugin));
            loop {
                thread::park();
            }
        }
        let (code, stdout, _) = end("work_that_hangs_is_ended", "hang");
        assert_eq!(code, Some(3));
        assert!(stdout.contains("CLOSEWATCH UNKNOWN - no verdict within 50 ms\n"), "{stdout}");
    }
}
