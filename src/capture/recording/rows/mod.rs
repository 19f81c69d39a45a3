//! What one line of each section holds: the mirror of the vocabulary, which itself knows no file format.
//!
//! Every row is a JSON object with the names of the fields beside their values. The mirrors name every field of what they
//! mirror, so that a field that is added there and forgotten here does not compile. A reader refuses a row with a field that
//! it does not know: what it would leave out could change what the row means.

mod ghost;
mod head;
mod namespace;
mod process;
mod socket;

pub(super) use self::ghost::GhostRow;
pub(super) use self::head::{GapRow, Head, RowCounts};
pub(super) use self::namespace::{AnswerRow, NamespaceRow};
pub(super) use self::process::{CgroupRow, HoldingRow, ProcessRow};
pub(super) use self::socket::SocketRow;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::tuple::Endpoint;

/// A span in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Span(u64, u32);

impl Span {
    fn of(span: Duration) -> Self {
        Self(span.as_secs(), span.subsec_nanos())
    }

    /// `None` for what is no span of this world: longer than 30,000 years, of which many can be added up without a thought.
    fn read(self) -> Option<Duration> {
        let Self(seconds, nanos) = self;
        (seconds < 1 << 40 && nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
    }
}

/// A moment: seconds since 1970, which may be negative, and nanoseconds after them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Moment(i64, u32);

impl Moment {
    fn of(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(after.as_secs().cast_signed(), after.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let seconds = -before.as_secs().cast_signed();
                match before.subsec_nanos() {
                    0 => Self(seconds, 0),
                    nanos => Self(seconds - 1, 1_000_000_000 - nanos),
                }
            }
        }
    }

    fn read(self) -> Option<SystemTime> {
        let Self(seconds, nanos) = self;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let second = match seconds < 0 {
            true => SystemTime::UNIX_EPOCH.checked_sub(whole)?,
            false => SystemTime::UNIX_EPOCH.checked_add(whole)?,
        };
        if nanos < 1_000_000_000 { second.checked_add(Duration::from_nanos(nanos.into())) } else { None }
    }
}

fn socket_addr(endpoint: Endpoint) -> SocketAddr {
    let Endpoint { address, port } = endpoint;
    SocketAddr::new(address, port)
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_the_epoch_read_back() {
        for nanos in [-1_500_000_000_i64, -1_000_000_000, -1, 0, 1, 1_763_804_298_250_000_001] {
            let distance = Duration::from_nanos(nanos.unsigned_abs());
            let epoch = SystemTime::UNIX_EPOCH;
            let time = if nanos < 0 { epoch - distance } else { epoch + distance };
            assert_eq!(Moment::of(time).read(), Some(time), "{nanos}");
        }
        assert_eq!(Moment(0, 1_000_000_000).read(), None);
        // The farthest that a SystemTime of Linux goes, and never an overflow.
        assert!(Moment(i64::MAX, 999_999_999).read().is_some());
        assert!(Moment(i64::MIN, 0).read().is_some());
    }

    #[test]
    fn spans_are_bounded() {
        assert_eq!(Span::of(Duration::new(3, 5)).read(), Some(Duration::new(3, 5)));
        assert_eq!(Span(u64::MAX, 0).read(), None);
        assert_eq!(Span(0, u32::MAX).read(), None);
    }
}
