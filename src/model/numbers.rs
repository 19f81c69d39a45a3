//! The numbers of one look that is remembered, or of an hour of looks: of each the least, the greatest and the last.

/// One number over a stretch of time. Of a single look all three are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spread {
    /// The least.
    pub least: u64,
    /// The greatest.
    pub most: u64,
    /// The last.
    pub last: u64,
}

impl Spread {
    /// A number that was read once.
    #[must_use]
    pub fn of(number: u64) -> Self {
        Self { least: number, most: number, last: number }
    }

    /// This stretch and the one behind it.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self { least: self.least.min(later.least), most: self.most.max(later.most), last: later.last }
    }
}

/// The sockets and descriptors of one run of a program, over the looks that listed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessNumbers {
    /// All its sockets.
    pub sockets: Spread,
    /// In CLOSE-WAIT.
    pub close_wait: Spread,
    /// Of these, surely older than the threshold.
    pub stuck: Spread,
    /// Descriptors of connections that are over, over the looks that could tell.
    pub ghosts: Option<Spread>,
    /// Open descriptors, over the looks that could tell.
    pub fds_open: Option<Spread>,
    /// The last soft RLIMIT_NOFILE that was known.
    pub fds_limit: Option<u64>,
    /// The least of what was surely leaked: stuck and ghosts together, over the looks that knew both where there are such.
    pub leaked: u64,
}

/// The ports of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolNumbers {
    /// Ports of the range that are not reserved, at the last look.
    pub usable: u64,
    /// Of these, not to be had.
    pub used: Spread,
    /// Of the used ones, those that a stuck CLOSE-WAIT holds.
    pub stuck: Spread,
    /// The last run that was known to hold most of them, and how many it held.
    pub holder: Option<(u64, u64)>,
}

/// A limit that is no process's and no pool's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitNumbers {
    /// How many there were.
    pub used: Spread,
    /// How many there might be, at the last look.
    pub limit: u64,
}

/// What is not listed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtherNumbers {
    /// How many things that is.
    pub count: Spread,
    /// Their sockets.
    pub sockets: Spread,
    /// Of these, stuck in CLOSE-WAIT.
    pub stuck: Spread,
}

impl ProcessNumbers {
    /// This stretch and the one behind it.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let leaked = match (self.ghosts.is_some(), later.ghosts.is_some()) {
            (true, false) => self.leaked,
            (false, true) => later.leaked,
            _ => self.leaked.min(later.leaked),
        };
        Self {
            sockets: self.sockets.then(later.sockets),
            close_wait: self.close_wait.then(later.close_wait),
            stuck: self.stuck.then(later.stuck),
            ghosts: both(self.ghosts, later.ghosts),
            fds_open: both(self.fds_open, later.fds_open),
            fds_limit: later.fds_limit.or(self.fds_limit),
            leaked,
        }
    }
}

impl PoolNumbers {
    /// This stretch and the one behind it.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            usable: later.usable,
            used: self.used.then(later.used),
            stuck: self.stuck.then(later.stuck),
            holder: later.holder.or(self.holder),
        }
    }

    /// None of its ports was used.
    #[must_use]
    pub fn empty(usable: u64) -> Self {
        Self { usable, ..Self::default() }
    }
}

impl LimitNumbers {
    /// This stretch and the one behind it.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self { used: self.used.then(later.used), limit: later.limit }
    }
}

impl OtherNumbers {
    /// This stretch and the one behind it.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            count: self.count.then(later.count),
            sockets: self.sockets.then(later.sockets),
            stuck: self.stuck.then(later.stuck),
        }
    }
}

fn both(earlier: Option<Spread>, later: Option<Spread>) -> Option<Spread> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => Some(earlier.then(later)),
        (earlier, later) => later.or(earlier),
    }
}
