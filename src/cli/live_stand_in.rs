//! Stands in for `capture::live` until it is there.

use crate::capture::{CaptureError, Request, SnapshotSource};
use crate::model::snapshot::Snapshot;

/// A source that sees nothing.
#[derive(Debug)]
pub(super) struct LiveHost;

impl SnapshotSource for LiveHost {
    fn take(&self, _request: &Request) -> Result<Snapshot, CaptureError> {
        let unsupported = || std::io::Error::from(std::io::ErrorKind::Unsupported);
        Err(CaptureError::NoTable { netlink: unsupported(), text: unsupported() })
    }
}
