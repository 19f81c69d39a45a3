//! How long a socket has been in CLOSE-WAIT, from one snapshot.

use std::time::Duration;

/// How long ago the peer closed: bounds, because the kernel keeps no clock of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Surely so long.
    pub at_least: Duration,
    /// Not longer; `None` when the clock may have wrapped (49.7 days).
    pub at_most: Option<Duration>,
    /// Whether `at_least` is the age itself, to a tick of the kernel's clock.
    pub exact: bool,
}
