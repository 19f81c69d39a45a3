//! Who looks, and with which rights.

use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities, no_new_privs};

use super::users::Users;
use crate::model::standing::{REVEALING, Standing};

/// Of the calling thread. Rights that cannot be read count as missing.
#[must_use]
pub fn read_standing() -> Standing {
    // What is permitted is in effect while the host is looked at.
    let permitted = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    let bits = [CapabilitySet::SYS_PTRACE, CapabilitySet::DAC_READ_SEARCH, CapabilitySet::SYS_ADMIN];
    let held = REVEALING.iter().zip(bits).filter(|(_, bit)| permitted.contains(*bit));
    let uid = geteuid().as_raw();
    Standing {
        uid,
        user: Users::read().ok().and_then(|users| users.name(uid).map(str::to_owned)),
        held: held.map(|((name, _), _)| *name).collect(),
        no_new_privileges: no_new_privs().unwrap_or(false),
    }
}
