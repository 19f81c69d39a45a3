//! What the namespaces that were looked at showed, put together.

use super::gap_folding::fold_all;
use super::look::{LimitsSeen, Look};
use super::place::Place;
use crate::model::snapshot::{Gap, HostLimits, Namespace};
use crate::model::socket::{NetNsIndex, SocketRecord};

/// Namespaces, each with the way to it, and all their sockets.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The namespaces; sockets name them by index.
    pub(super) namespaces: Vec<Namespace>,
    /// Where each of them is.
    pub(super) places: Vec<Place>,
    /// The sockets of all.
    pub(super) sockets: Vec<SocketRecord>,
    /// The inodes of the sockets that have one, when descriptors are read.
    pub(super) inodes: Vec<u64>,
    /// What could not be seen of the host beside what these namespaces lack.
    pub(super) gaps: Vec<Gap>,
    limits: Option<LimitsSeen>,
    gaps_by_namespace: Vec<Vec<Gap>>,
}

/// Adds the items after the others; the first are not copied.
fn join<T>(all: &mut Vec<T>, mut more: Vec<T>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.append(&mut more);
    }
}

impl View {
    /// Adds a namespace after the others.
    pub(super) fn add(&mut self, place: Place, look: Look) {
        let Look { namespace, mut sockets, inodes, limits, gaps, text_id: _ } = look;
        let netns = NetNsIndex(self.namespaces.len() as u32);
        if netns != NetNsIndex(0) {
            sockets.iter_mut().for_each(|socket| socket.netns = netns);
        }
        join(&mut self.sockets, sockets);
        join(&mut self.inodes, inodes);
        self.namespaces.push(namespace);
        self.places.push(place);
        self.gaps_by_namespace.push(gaps);
        // The namespace that shows most of the limits of the host is the one that it booted with.
        let shows_more =
            |limits: &LimitsSeen| self.limits.as_ref().is_none_or(|best| limits.gaps.len() < best.gaps.len());
        if let Some(limits) = limits.filter(shows_more) {
            self.limits = Some(limits);
        }
    }

    /// The limits of the host; what is missing of them, and of the namespaces, joins the gaps.
    pub(super) fn settle(&mut self) -> HostLimits {
        let LimitsSeen { limits, gaps } = self.limits.take().unwrap_or_default();
        let mut all = gaps;
        all.extend(fold_all(&self.namespaces, std::mem::take(&mut self.gaps_by_namespace)));
        all.append(&mut self.gaps);
        self.gaps = all;
        limits
    }
}
