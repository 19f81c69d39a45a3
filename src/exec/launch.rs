//! Starting the command, handing signals on to it, and waiting for it and for all that it leaves behind.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait};

use super::ExecError;

/// What is handed on to the command when somebody sends it to closewatch. What a terminal sends, it sends to both.
const HANDED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];

/// `SI_KERNEL`: the kernel sent it of itself, on behalf of a terminal (kernel `include/uapi/asm-generic/siginfo.h`).
const FROM_THE_KERNEL: i32 = 0x80;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Ended {
    /// The status that a shell would show: 128 and the number of the signal.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// A command that runs.
pub(super) struct Launched {
    pid: Pid,
    signals: SignalFd,
}

impl Launched {
    /// Starts it. To be called before any other thread is started: threads inherit which signals are not delivered to them.
    pub(super) fn start(command: &[OsString]) -> Result<Self, ExecError> {
        let set_up = |what| move |error: io::Error| ExecError::SetUp { what, error };
        set_child_subreaper(Some(getpid())).map_err(|error| set_up("becoming the parent of orphans")(error.into()))?;
        let mut wanted: SigSet = HANDED_ON.into_iter().collect();
        wanted.add(Signal::SIGCHLD);
        let signals = wanted.thread_block().and_then(|()| SignalFd::new(&wanted));
        let signals = signals.map_err(|error| set_up("taking signals")(error.into()))?;
        let [program, args @ ..] = command else {
            return Err(set_up("starting a command")(io::ErrorKind::InvalidInput.into()));
        };
        let child = Command::new(program)
            .args(args)
            .spawn()
            .map_err(|error| ExecError::Start { command: program.to_string_lossy().into_owned(), error })?;
        // Waiting is done for all children at once, below.
        let pid = Pid::from_child(&child);
        Ok(Self { pid, signals })
    }

    /// Waits until the command has ended. What it left behind may run on.
    pub(super) fn wait(&mut self) -> Result<Ended, ExecError> {
        let failed = |error: io::Error| ExecError::SetUp { what: "waiting for the command", error };
        loop {
            // One that ended before the signal was asked for has left it pending.
            while let Some((pid, status)) = next_ended().map_err(failed)? {
                if let Some(ended) = (pid == self.pid).then(|| how(status)).flatten() {
                    return Ok(ended);
                }
            }
            match self.signals.read_signal() {
                Ok(Some(signal)) => self.hand_on(signal.ssi_signo, signal.ssi_code),
                Ok(None) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn hand_on(&self, number: u32, code: i32) {
        if code == FROM_THE_KERNEL {
            return;
        }
        let known = HANDED_ON.into_iter().find(|signal| *signal as u32 == number);
        let signal = known.and_then(|signal| rustix::process::Signal::from_named_raw(signal as i32));
        if let Some(signal) = signal {
            // It may have ended at this very moment.
            let _ = kill_process(self.pid, signal);
        }
    }
}

/// The next child that has ended, orphans among the descendants included.
fn next_ended() -> io::Result<Option<(Pid, WaitStatus)>> {
    match wait(WaitOptions::NOHANG) {
        Ok(ended) => Ok(ended),
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `None` for one that was only stopped or continued.
fn how(status: WaitStatus) -> Option<Ended> {
    let exited = status.exit_status().map(|status| Ended::Exited(status.to_le_bytes()[0]));
    exited.or(status.terminating_signal().map(|signal| Ended::Killed(signal.to_le_bytes()[0])))
}
