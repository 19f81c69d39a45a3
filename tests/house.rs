//! The house rules that a compiler does not know: the floors, the map, the sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which floor each module of the crate root lives on. A module may use floors below its own, and of its own floor only
/// the modules named here.
const FLOORS: &[(&str, u8, &[&str])] = &[
    ("model", 0, &[]),
    ("attribution", 1, &[]),
    ("census", 1, &["attribution"]),
    ("trend", 1, &[]),
    ("diagnosis", 1, &["attribution", "census", "trend"]),
    ("report", 2, &[]),
    ("chronicle", 2, &[]),
    ("capture", 3, &[]),
    ("probe", 3, &[]),
    ("exec", 3, &[]),
    ("history", 3, &[]),
    ("render", 3, &[]),
    ("integrate", 3, &[]),
    ("cli", 4, &[]),
    ("main", 5, &[]),
];

/// The files that may hold `unsafe`: those that talk to the kernel.
const MAY_BE_UNSAFE: &[&str] =
    &["src/capture/netns.rs", "src/capture/peek.rs", "src/capture/port_probe.rs", "src/capture/room.rs"];

const LONGEST_FILE: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(below), &mut found);
    found.sort();
    let named = found.into_iter().map(|path| {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        (name, fs::read_to_string(&path).expect("a text file"))
    });
    named.collect()
}

fn module_of(file: &str) -> &str {
    let inner = file.strip_prefix("src/").expect("a source file");
    inner.split('/').next().expect("a first part").trim_end_matches(".rs")
}

fn entry(module: &str) -> Option<&'static (&'static str, u8, &'static [&'static str])> {
    FLOORS.iter().find(|(name, _, _)| *name == module)
}

/// The modules of the crate that a source names, by `crate::` paths in code (comments and docs name what they like), the
/// unit tests at its end left out.
fn modules_used(source: &str) -> BTreeSet<&str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or(source);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split("crate::").skip(1));
    paths.map(|path| path.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("")).collect()
}

#[test]
fn a_floor_uses_only_floors_below_it() {
    let mut broken = Vec::new();
    for (file, source) in rust_files("src") {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let Some((_, floor, siblings)) = entry(module) else {
            broken.push(format!("{file}: the module `{module}` has no floor; give it one in FLOORS and in src/lib.rs"));
            continue;
        };
        for used in modules_used(&source) {
            let Some((_, below, _)) = entry(used) else {
                broken.push(format!("{file}: `crate::{used}` is not a module with a floor"));
                continue;
            };
            if used != module && below >= floor && !siblings.contains(&used) {
                broken.push(format!(
                    "{file} (floor {floor}) uses `{used}` (floor {below}): a floor uses only floors below it"
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_map_in_the_crate_docs_names_every_module() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let (docs, code): (Vec<&str>, Vec<&str>) = lib.lines().partition(|line| line.starts_with("//!"));
    let docs = docs.join("\n");
    let modules: Vec<&str> = code.iter().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    for module in &modules {
        assert!(docs.contains(&format!("[`{module}`]")), "the map in src/lib.rs does not name `{module}`");
    }
    let floored: BTreeSet<&str> = FLOORS.iter().map(|(name, _, _)| *name).filter(|name| *name != "main").collect();
    assert_eq!(modules.into_iter().collect::<BTreeSet<_>>(), floored, "FLOORS and src/lib.rs list the same modules");
}

#[test]
fn the_pure_floors_neither_read_nor_print_nor_tell_the_time() {
    let forbidden = ["std::fs", "std::io", "SystemTime::now", "Instant::now", "std::env", "std::process", "println!"];
    let mut broken = Vec::new();
    for (file, source) in rust_files("src") {
        let pure = entry(module_of(&file)).is_some_and(|(_, floor, _)| *floor <= 2);
        let code = source.split("#[cfg(test)]").next().unwrap_or(&source).to_owned();
        for word in forbidden.into_iter().filter(|word| pure && code.contains(word)) {
            broken.push(format!("{file} says `{word}`: floors 0 to 2 never read, print or tell the time"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_vocabulary_needs_the_standard_library_only() {
    for (file, source) in rust_files("src/model") {
        for line in source.lines().filter(|line| line.starts_with("use ")) {
            let path = line.trim_start_matches("use ");
            let known = ["std::", "super::", "crate::model"].iter().any(|root| path.starts_with(root));
            assert!(known, "{file}: `{line}`: floor 0 uses std only");
        }
    }
}

#[test]
fn unsafe_stands_only_where_the_kernel_is_spoken_to() {
    for (file, source) in rust_files("src") {
        let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        if code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl") {
            assert!(MAY_BE_UNSAFE.contains(&file.as_str()), "{file} holds `unsafe`");
        }
    }
}

#[test]
fn no_file_outgrows_its_room() {
    let mut long = Vec::new();
    for (file, source) in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let lines = source.lines().count();
        if lines > LONGEST_FILE {
            long.push(format!("{file} has {lines} lines; {LONGEST_FILE} is the most: redesign the room"));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_wish_for_later_names_its_condition() {
    for (file, source) in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        if file == "tests/house.rs" {
            continue;
        }
        for word in ["TODO", "FIXME", "unimplemented!", "todo!"] {
            assert!(!source.contains(word), "{file} says {word}");
        }
    }
}
