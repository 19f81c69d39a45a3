//! What the exit status says.

use std::process::ExitCode;

/// The exit statuses. A monitoring system reads 2 as CRITICAL, so that clap's own 2 for a wrong flag is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: the command did what it was asked; a report was printed, whatever it says.
    Done,
    /// 2: a probe ran, and not all that had to be seen was.
    NotConfirmed,
    /// 2: the command that was watched leaked, and that was to be a failure.
    Leaked,
    /// What the command that was watched ended with.
    OfCommand(u8),
    /// 3: it could not look, could not write, or did not understand what was typed.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::NotConfirmed | Exit::Leaked => Self::from(2),
            Exit::OfCommand(status) => Self::from(status),
            Exit::Failed => Self::from(3),
        }
    }
}
