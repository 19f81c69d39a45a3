//! The rows of descriptors whose connection is over.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{HoldingRow, Span, endpoint, socket_addr};
use crate::model::ghost::{Ghost, GhostEnd, GhostScan};
use crate::model::process::ProcessIndex;

/// One [`Ghost`], or a process that may have more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum GhostRow {
    Ghost {
        holding: HoldingRow,
        #[serde(with = "EndMirror")]
        end: GhostEnd,
        local: Option<SocketAddr>,
        untouched: bool,
        silent_for: Option<Span>,
    },
    Undecided {
        process: u32,
    },
}

impl GhostRow {
    /// The rows of a search.
    pub(crate) fn all_of(scan: &GhostScan) -> impl Iterator<Item = Self> + '_ {
        let GhostScan { ghosts, undecided } = scan;
        let undecided = undecided.iter().map(|process| Self::Undecided { process: process.0 });
        ghosts.iter().map(Self::of).chain(undecided)
    }

    fn of(ghost: &Ghost) -> Self {
        let Ghost { holding, end, local, untouched, silent_for } = *ghost;
        Self::Ghost {
            holding: HoldingRow::of(&holding),
            end,
            local: local.map(socket_addr),
            untouched,
            silent_for: silent_for.map(Span::of),
        }
    }

    /// Puts what the row says into the search; `None` when its process is not among those that were read.
    pub(crate) fn read_into(self, scan: &mut GhostScan, place: impl FnOnce(u32) -> Option<u32>) -> Option<()> {
        match self {
            Self::Ghost { holding, end, local, untouched, silent_for } => {
                let silent_for = match silent_for {
                    Some(span) => Some(span.read()?),
                    None => None,
                };
                let (holding, local) = (holding.read(place)?, local.map(endpoint));
                scan.ghosts.push(Ghost { holding, end, local, untouched, silent_for });
            }
            Self::Undecided { process } => scan.undecided.push(ProcessIndex(place(process)?)),
        }
        Some(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "GhostEnd", rename_all = "snake_case")]
enum EndMirror {
    Ended,
    Refused,
}
