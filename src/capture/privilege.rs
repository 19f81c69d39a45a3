//! Capabilities, in effect only while this host is looked at.
//!
//! A program with capabilities of its file may be run by whoever may execute it, with files of the caller's choice: a policy, a saved
//! look, a history. Those are opened with the rights of the caller. Root keeps its rights: it could take them anyway.

use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Puts all capabilities of the calling thread, and of those that it makes, out of effect but for looks at this host. Call it before there are
/// others.
pub fn lower() {
    if !geteuid().is_root() {
        set_effective(|_| CapabilitySet::empty());
    }
}

/// Does something with every capability that the thread may have in effect.
pub(super) fn raised<T>(act: impl FnOnce() -> T) -> T {
    if geteuid().is_root() {
        return act();
    }
    set_effective(|sets| sets.permitted);
    let done = act();
    lower();
    done
}

/// What cannot be set stays as it is: to lower is always allowed, and to raise up to what is permitted, too.
fn set_effective(choose: impl FnOnce(&CapabilitySets) -> CapabilitySet) {
    if let Ok(sets) = capabilities(None) {
        let _ = set_capabilities(None, CapabilitySets { effective: choose(&sets), ..sets });
    }
}
