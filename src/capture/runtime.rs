//! What runs a program, told from its executable: the fix of a leak is written in that language.

use std::io::{Read, Seek};

use object::elf::{FileHeader32, FileHeader64, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadCacheOps};

use crate::model::process::Runtime;

/// More program headers than any linker writes; a file that claims more is not looked at.
const MOST_HEADERS: u16 = 256;
/// A note segment holds some hundred bytes; a larger one is passed over, so that no file makes us read much.
const LARGEST_NOTES_BYTES: u64 = 16 * 1024;

/// Which runtime the executable is, by its notes and its file name. Only headers and notes are read.
pub(super) fn read_runtime(file_name: &str, executable: impl Read + Seek) -> Runtime {
    let data = ReadCache::new(executable);
    let go_note = match parse_class(&data) {
        Some(Class::Elf64) => has_go_note::<FileHeader64<Endianness>>(&data),
        Some(Class::Elf32) => has_go_note::<FileHeader32<Endianness>>(&data),
        None => None,
    };
    match go_note {
        Some(true) => Runtime::Go,
        Some(false) => runtime_of_name(file_name).unwrap_or(Runtime::Native),
        None => Runtime::Unknown,
    }
}

/// The runtime whose interpreter or virtual machine has this file name, with whatever version a distribution adds
/// to it: `python3.11`, `php-fpm8.2`, `java`.
pub(super) fn runtime_of_name(file_name: &str) -> Option<Runtime> {
    let is_version = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    // python3.13t is built without the lock, python3.11d and python3.11-dbg for debugging.
    let name = file_name.trim_end_matches("-dbg");
    let name = match name.strip_suffix(['t', 'd', 'm']) {
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_digit()) => stem,
        _ => name,
    };
    match name.trim_end_matches(is_version) {
        "python" | "pypy" => Some(Runtime::Python),
        "java" | "jsvc" => Some(Runtime::Java),
        "node" | "nodejs" => Some(Runtime::Node),
        "dotnet" => Some(Runtime::DotNet),
        "ruby" | "truffleruby" => Some(Runtime::Ruby),
        "php" | "php-fpm" | "php-cgi" => Some(Runtime::Php),
        _ => None,
    }
}

enum Class {
    Elf32,
    Elf64,
}

/// The class byte behind the magic number (elf(5)).
fn parse_class<R: ReadCacheOps>(data: &ReadCache<R>) -> Option<Class> {
    use object::ReadRef;
    match data.read_bytes_at(0, 5).ok()? {
        [0x7f, b'E', b'L', b'F', 1] => Some(Class::Elf32),
        [0x7f, b'E', b'L', b'F', 2] => Some(Class::Elf64),
        _ => None,
    }
}

/// Whether a note of the owner `Go` is there: the linker of Go writes its build id so (`cmd/link/internal/ld/elf.go`),
/// into a loaded segment, which `strip` keeps. `None` when the headers cannot be read.
fn has_go_note<H: FileHeader<Endian = Endianness>>(data: &ReadCache<impl ReadCacheOps>) -> Option<bool> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.e_phnum(endian) > MOST_HEADERS {
        return None;
    }
    let segments = header.program_headers(endian, data).ok()?;
    let notes = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_NOTE && segment.p_filesz(endian).into() <= LARGEST_NOTES_BYTES)
        .filter_map(|segment| segment.notes(endian, data).ok().flatten());
    for mut notes in notes {
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"Go" {
                return Some(true);
            }
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Cursor;

    use super::*;

    /// A little-endian ELF file of 64 bits: its header, one program header of notes, one note of this owner.
    fn elf64(owner: &[u8]) -> Vec<u8> {
        let note = note(owner);
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // e_type, e_machine, e_version
        file.extend([0; 8]); // e_entry
        file.extend(64_u64.to_le_bytes()); // e_phoff
        file.extend([0; 12]); // e_shoff, e_flags
        file.extend([64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]); // e_ehsize, e_phentsize, e_phnum, section headers
        file.extend([4, 0, 0, 0, 4, 0, 0, 0]); // p_type PT_NOTE, p_flags
        file.extend([120_u64, 0, 0].iter().flat_map(|word| word.to_le_bytes())); // p_offset, p_vaddr, p_paddr
        file.extend([note.len() as u64, 0, 4].iter().flat_map(|word| word.to_le_bytes())); // sizes, p_align
        assert_eq!(file.len(), 120);
        file.extend(note);
        file
    }

    fn note(owner: &[u8]) -> Vec<u8> {
        let mut note: Vec<u8> = [owner.len() as u32 + 1, 4, 4].iter().flat_map(|word| word.to_le_bytes()).collect();
        note.extend(owner);
        note.push(0);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(b"1234");
        note
    }

    /// The same in 32 bits and big-endian.
    fn elf32_big(owner: &[u8]) -> Vec<u8> {
        let note: Vec<u8> = note(owner);
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        let mut file = b"\x7fELF\x01\x02\x01".to_vec();
        file.resize(16, 0);
        file.extend([0, 2, 0, 8, 0, 0, 0, 1]);
        file.extend(words(&[0, 52, 0, 0])); // e_entry, e_phoff, e_shoff, e_flags
        file.extend([0, 52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0]);
        file.extend(words(&[PT_NOTE, 84, 0, 0, note.len() as u32, 0, 4, 4]));
        assert_eq!(file.len(), 84);
        for (index, word) in note.chunks(4).enumerate() {
            let swap = index < 3;
            file.extend(word.iter().copied().rev().filter(|_| swap));
            file.extend(word.iter().copied().filter(|_| !swap));
        }
        file
    }

    fn runtime_of(name: &str, file: Vec<u8>) -> Runtime {
        read_runtime(name, Cursor::new(file))
    }

    #[test]
    fn a_go_note_makes_a_go_binary_whatever_its_name() {
        assert_eq!(runtime_of("telegraf", elf64(b"Go")), Runtime::Go);
        assert_eq!(runtime_of("java", elf64(b"Go")), Runtime::Go);
        assert_eq!(runtime_of("telegraf", elf32_big(b"Go")), Runtime::Go);
        assert_eq!(runtime_of("telegraf", elf64(b"GNU")), Runtime::Native);
        assert_eq!(runtime_of("telegraf", elf32_big(b"GNU")), Runtime::Native);
        assert_eq!(runtime_of("java", elf64(b"GNU")), Runtime::Java);
    }

    #[test]
    fn what_is_no_whole_elf_file_is_unknown_and_no_byte_makes_it_panic() {
        let file = elf64(b"Go");
        for end in 0..120 {
            assert_eq!(runtime_of("java", file[..end].to_vec()), Runtime::Unknown, "{end} bytes");
        }
        for position in 0..file.len() {
            let mut file = file.clone();
            file[position] = 0xff;
            runtime_of("x", file);
        }
        assert_eq!(runtime_of("x", b"#!/bin/sh\n".to_vec()), Runtime::Unknown);
    }

    #[test]
    fn a_huge_claim_is_not_followed() {
        let mut file = elf64(b"Go");
        file[96..104].copy_from_slice(&(1_u64 << 40).to_le_bytes()); // p_filesz
        assert_eq!(runtime_of("x", file), Runtime::Native);
        let mut file = elf64(b"Go");
        file[56..58].copy_from_slice(&[0xff, 0xff]); // e_phnum
        assert_eq!(runtime_of("x", file), Runtime::Unknown);
    }

    #[test]
    fn this_program_is_native() {
        let file = File::open("/proc/self/exe").expect("the test program can be read");
        assert_eq!(read_runtime("closewatch", file), Runtime::Native);
    }

    #[test]
    fn interpreters_are_known_with_any_version() {
        let table = [
            (Runtime::Python, &["python", "python3", "python3.11", "python3.13t", "python3.11-dbg", "pypy3.10"][..]),
            (Runtime::Java, &["java", "jsvc"]),
            (Runtime::Node, &["node", "nodejs", "node-22"]),
            (Runtime::DotNet, &["dotnet"]),
            (Runtime::Ruby, &["ruby", "ruby3.1"]),
            (Runtime::Php, &["php", "php8.2", "php-fpm8.2", "php-fpm", "php-cgi7.4", "php-fpm82"]),
        ];
        for (runtime, names) in table {
            for name in names {
                assert_eq!(runtime_of_name(name), Some(runtime), "{name}");
            }
        }
        for name in ["node_exporter", "nginx", "javac", "rubyd", "pythonista", "", "3.11", "phpd"] {
            assert_eq!(runtime_of_name(name), None, "{name}");
        }
    }
}
