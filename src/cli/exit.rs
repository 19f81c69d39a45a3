//! What the exit status says.

use std::process::ExitCode;

/// The exit statuses. A monitoring system reads 2 as CRITICAL, so that clap's own 2 for a wrong flag is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: the command did what it was asked; a report was printed, whatever it says.
    Done,
    /// 3: it could not look, could not write, or did not understand what was typed.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(3),
        }
    }
}
