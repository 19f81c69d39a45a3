//! What the exit status says.

use std::process::ExitCode;

use crate::diagnosis::finding::Verdict;

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
    /// 0, 1, 2 or 3, as monitoring plugins: a check was graded.
    Graded(Verdict),
    /// 1: something is hidden from this user.
    Hidden,
    /// 3: it could not look, could not write, or did not understand what was typed.
    Failed,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Done | Self::Graded(Verdict::Ok) => 0,
            Self::Graded(Verdict::Warning) | Self::Hidden => 1,
            Self::Graded(Verdict::Critical) | Self::NotConfirmed | Self::Leaked => 2,
            Self::OfCommand(status) => status,
            Self::Graded(Verdict::Unknown) | Self::Failed => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}
