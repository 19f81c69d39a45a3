//! Starting the command, handing signals on to it, and waiting for it and for all that it leaves behind.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
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
        let taking = |errno: Errno| set_up("taking signals")(errno.into());
        let mask = SigSet::thread_get_mask().map_err(taking)?;
        let signals = wanted.thread_block().and_then(|()| SignalFd::new(&wanted)).map_err(taking)?;
        let pid = spawn(command, &mask).map_err(|error| ExecError::Start {
            command: command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
            error,
        })?;
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
                Ok(None) | Err(Errno::EINTR) => {}
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

/// Starts the command with this signal mask, which is that of who started closewatch. `std::process` would hand on the mask
/// of this thread, in which the signals are blocked.
fn spawn(command: &[OsString], mask: &SigSet) -> io::Result<Pid> {
    let c_string = |word: &OsString| Ok(CString::new(word.as_bytes())?);
    let words = command.iter().map(c_string).collect::<io::Result<Vec<_>>>()?;
    let variables = std::env::vars_os().map(|(name, value)| {
        let variable = [name.as_bytes(), b"=", value.as_bytes()].concat();
        Ok(CString::new(variable)?)
    });
    let variables = variables.collect::<io::Result<Vec<_>>>()?;
    let program = words.first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    attributes.set_sigmask(mask)?;
    // The one signal that programs in Rust ignore.
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    let pid = posix_spawnp(program, &PosixSpawnFileActions::init()?, &attributes, &words, &variables)?;
    Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput.into())
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
