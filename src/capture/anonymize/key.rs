//! The secret that decides which name stands for which.

use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip::SipHasher24;

/// How many hexadecimal digits a key has in a file.
const DIGITS: usize = 32;

/// A secret of 128 bits. Without it nobody can tell the real names from the invented ones, but by trying all.
#[derive(Clone)]
pub struct Key([u8; DIGITS / 2]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kernel gives no random bytes.
    #[error("asking the kernel for a random key: {0}")]
    Random(io::Error),
    /// The file cannot be read.
    #[error("reading the key in {name}: {error}")]
    Read {
        /// The file.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is something else in it.
    #[error("reading the key in {name}: a key is {DIGITS} hexadecimal digits and nothing else")]
    Malformed {
        /// The file.
        name: String,
    },
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Key {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; DIGITS / 2]) -> Self {
        Self(bytes)
    }

    /// A key that was never used before and is nowhere kept.
    ///
    /// # Errors
    /// What the kernel said (`getrandom(2)`; before Linux 3.17 there is none).
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = [0; DIGITS / 2];
        // So few bytes are given at once or not at all.
        getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|error| KeyError::Random(error.into()))?;
        Ok(Self(bytes))
    }

    /// The key in a file: 32 hexadecimal digits, as `openssl rand -hex 16` writes them.
    ///
    /// # Errors
    /// When the file cannot be read, or holds anything else.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => parse_key(text.trim_ascii()).ok_or(KeyError::Malformed { name }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeyError::Malformed { name }),
            Err(error) => Err(KeyError::Read { name, error }),
        }
    }

    /// 64 bits that this key makes of these bytes, and that tell nothing of either: SipHash-2-4, a pseudorandom function.
    /// Different domains give unrelated bits for equal bytes.
    pub(super) fn bits(&self, domain: u8, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[domain]);
        hasher.write(bytes);
        hasher.finish()
    }
}

fn parse_key(text: &str) -> Option<Key> {
    let plain = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok()?;
    plain.then(|| Key(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_its_digits_and_from_nothing_else() {
        let digits = "000102030405060708090a0b0c0d0e0F";
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), format!("{digits}\n")).expect("written");
        let key = Key::read(file.path()).expect("a key");
        assert_eq!(key.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(format!("{key:?}"), "Key(secret)");
        for wrong in ["", "00", "secret", &format!("+{}", &digits[1..]), &format!("{digits}0"), "\u{e9}"] {
            fs::write(file.path(), wrong).expect("written");
            assert!(matches!(Key::read(file.path()), Err(KeyError::Malformed { .. })), "{wrong}");
        }
        fs::write(file.path(), [0xff; 32]).expect("written");
        assert!(matches!(Key::read(file.path()), Err(KeyError::Malformed { .. })));
        assert!(matches!(Key::read(Path::new("/nonexistent")), Err(KeyError::Read { .. })));
    }

    #[test]
    fn two_random_keys_differ() {
        let bits = || Key::random().expect("random bytes").bits(0, b"x");
        assert_ne!(bits(), bits());
    }
}
