//! What the fuzzer begins with, and what it found, read without it.

use std::fs;
use std::path::{Path, PathBuf};

use closewatch::capture::recording::frame::Reader;
use closewatch::capture::recording::{decode, encode};
use closewatch::model::snapshot::Names;

use crate::{as_seen, sample};

#[path = "../fuzz/src/decode.rs"]
mod fuzzed;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn files(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(fixtures().join(folder)).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    paths.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

#[test]
fn nothing_that_was_ever_found_panics() {
    let corpus = files("fuzz");
    assert!(!corpus.is_empty());
    for (_, bytes) in corpus {
        fuzzed::anything(&bytes);
    }
    // What one decoder reads may be given to another.
    for (path, bytes) in ["wire", "proc"].into_iter().flat_map(files) {
        for choice in b"fr46n" {
            fuzzed::anything(&[&[*choice], bytes.as_slice()].concat());
        }
        assert!(!bytes.is_empty(), "{}", path.display());
    }
}

/// A seed that the program would not write any more would lead the fuzzer nowhere: `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_seed_is_a_recording_of_today() {
    let host = sample::leaking_host(4);
    let bytes = encode(&host, Names::Real).expect("small");
    let mut reader = Reader::open(&bytes).expect("a recording");
    let mut text = b"r".to_vec();
    while let Some(section) = reader.next_section().expect("small") {
        let section = section.expect("whole");
        text.extend_from_slice(&[b"@", &section.kind.0[..], b"\n", &section.payload().expect("whole")].concat());
    }
    let path = fixtures().join("fuzz/recording");
    // The version of the program changes with every release.
    let program = format!("closewatch {}", env!("CARGO_PKG_VERSION"));
    let text = String::from_utf8(text).expect("JSON").replace(&program, "closewatch");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).expect("written");
    }
    let seed = fs::read_to_string(&path).expect("a seed");
    assert_eq!(seed, text);
    let read = decode(&fuzzed::recording_of(&seed.as_bytes()[1..])).expect("a recording");
    assert_eq!(as_seen(read), host);
}
