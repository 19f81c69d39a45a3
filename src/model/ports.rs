//! The ports that a network namespace hands out, and by which rules.

/// The range that the kernel picks local ports from (`net.ipv4.ip_local_port_range`). Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EphemeralRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl EphemeralRange {
    /// Whether the port lies in the range.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// How many ports the range spans, reserved ones included.
    #[must_use]
    pub fn span(&self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Every port of the range.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

/// A set of ports: one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet(Box<[u64; 1024]>);

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl PortSet {
    /// Puts the port in; true when it was not in before.
    pub fn insert(&mut self, port: u16) -> bool {
        let (word, bit) = (usize::from(port) / 64, 1_u64 << (port % 64));
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    /// Whether the port is in.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port) / 64] & (1 << (port % 64)) != 0
    }

    /// How many ports are in.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether none is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The ports, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=u16::MAX).filter(|port| self.contains(*port))
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        let mut set = Self::default();
        for port in ports {
            set.insert(port);
        }
        set
    }
}

impl std::fmt::Debug for PortSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// When `connect()` may take the port of a connection in TIME-WAIT (`net.ipv4.tcp_tw_reuse`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeWaitReuse {
    /// 0: never.
    Off,
    /// 1: whenever the timestamps of the old connection make it safe.
    Global,
    /// 2: as 1, for loopback addresses and the loopback device only. The default since Linux 4.19.
    Loopback,
}

/// The rules by which one namespace hands out ports. `None` is a setting that could not be read; a gap says why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSettings {
    /// `net.ipv4.ip_local_port_range`.
    pub range: Option<EphemeralRange>,
    /// `net.ipv4.ip_local_reserved_ports`: never handed out, though `bind()` may name them.
    pub reserved: Option<PortSet>,
    /// `net.ipv4.tcp_tw_reuse`.
    pub tw_reuse: Option<TimeWaitReuse>,
    /// `net.ipv4.tcp_tw_reuse_delay`, milliseconds. Kernels before 6.14 have no such setting and wait for one second.
    pub tw_reuse_delay_ms: Option<u32>,
    /// `net.ipv4.tcp_timestamps` is not 0.
    pub timestamps: Option<bool>,
    /// `net.ipv4.ip_autobind_reuse` is not 0.
    pub autobind_reuse: Option<bool>,
    /// `net.ipv4.tcp_fin_timeout`, seconds: how long an orphaned FIN-WAIT-2 is kept.
    pub fin_timeout_s: Option<u32>,
}

/// A named range of local ports that the census counts in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPortRange {
    /// `system`, `ephemeral`, `user`, or the operator's own word.
    pub name: String,
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_set_holds_the_corners() {
        let set: PortSet = [0, 63, 64, 65535, 65535].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 65535]);
        assert_eq!(set.len(), 4);
        assert_eq!(EphemeralRange { first: 0, last: 65535 }.span(), 65536);
    }
}
