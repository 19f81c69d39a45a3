//! The identity of each object of the template: by it an import knows what to update, so that it must never change.
//!
//! An identity is made of what the object is called inside the template, by a hash with a fixed key, and has the form of a random
//! UUID of version 4 (RFC 9562 section 5.4), which is the only one that an import takes. Another name is another object.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Never to be changed: every template that was imported anywhere knows its objects by it.
const KEY: [u8; 16] = *b"closewatch.zbx/1";

/// The identity of the object that has this name among those of its kind: 32 hexadecimal digits.
pub(super) fn uuid(kind: &str, name: &str) -> String {
    let mut hasher = SipHasher24::new_with_key(&KEY);
    hasher.write(kind.as_bytes());
    hasher.write(b"\0");
    hasher.write(name.as_bytes());
    let mut bytes = hasher.finish128().as_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn identities_are_of_version_4_and_stay() {
        let id = uuid("item", "closewatch.report");
        assert_eq!((id.len(), &id[12..13]), (32, "4"));
        assert!("89ab".contains(&id[16..17]), "{id}");
        assert_eq!(id, "8eefb21a7ea04e698707dcd46a08a327");
        assert_ne!(uuid("trigger", "closewatch.report"), id);
    }
}
