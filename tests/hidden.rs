//! What somebody is told of processes that may not be looked into: the user, and the unit that their sockets were made in, by
//! real cgroups.

mod support;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::nobody::{as_nobody, public_place};
use support::player::{Player, play};
use support::{close_wait, in_netns, is_root, json_of, listen, settle, skip, text, wait_until};

const LEAKED: usize = 30;

/// The options of a look that finds young sockets stuck.
const YOUNG: [&str; 4] = ["--netns", "current", "--stuck-after", "1ms"];

/// A cgroup, and whether this test made it: it is removed then, when the process in it has ended.
struct Cgroup {
    /// Where it lies in the file system; `None` where there is none.
    dir: Option<PathBuf>,
    /// Its path in the hierarchy.
    path: String,
    is_ours: bool,
}

impl Cgroup {
    /// A cgroup of this name below the one that the test runs in, where such may be made; else that one itself.
    fn below_our_own(name: &str) -> Self {
        let read = |file: &str| fs::read_to_string(file).expect("the kernel tells");
        // Where cgroup2 is mounted, and which part of it: `30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw`.
        let mountinfo = read("/proc/self/mountinfo");
        let mount = mountinfo.lines().find(|line| line.contains(" - cgroup2 ")).map(|line| {
            let mut fields = line.split(' ').skip(3);
            (fields.next().expect("a part").to_owned(), PathBuf::from(fields.next().expect("a place")))
        });
        let cgroups = read("/proc/self/cgroup");
        let own = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
        let Some((part, place)) = mount else { return Self { dir: None, path: own, is_ours: false } };
        let below = Path::new(&own).strip_prefix(&part).unwrap_or(Path::new(""));
        let (parent, path) = (place.join(below), format!("{}/{name}", own.trim_end_matches('/')));
        match fs::create_dir(parent.join(name)) {
            Ok(()) => Self { dir: Some(parent.join(name)), path, is_ours: true },
            Err(_) => Self { dir: Some(parent), path: own, is_ours: false },
        }
    }

    /// How the sockets of root are called that were made in it: by the service in its path, if it can be seen from here.
    fn owner(&self) -> (String, &'static str) {
        let service = self.path.rsplit('/').find(|part| part.ends_with(".service") && !part.starts_with("user@"));
        match service.filter(|_| self.dir.is_some()) {
            Some(service) => (format!("user 0 in {service}"), "user_in_unit"),
            None => ("user 0".to_owned(), "user"),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.as_ref().filter(|_| self.is_ours) {
            fs::remove_dir(dir).expect("nobody is in it any more");
        }
    }
}

#[test]
fn a_player_plays_its_role() {
    play(|role, dir| -> Vec<TcpStream> {
        assert_eq!(role, "leak-in");
        if !dir.is_empty() {
            // 0 is the process that writes it.
            fs::write(Path::new(dir).join("cgroup.procs"), "0").expect("it may move there");
        }
        let server = listen("127.0.0.2:8086");
        (0..LEAKED).map(|_| close_wait(&server)).collect()
    });
}

/// Runs the body beside a process that leaks in a cgroup, with the program where anybody may run it.
fn beside_a_leak(test: &str, name: &str, body: impl FnOnce(&Cgroup, &Path)) {
    if !is_root() {
        return skip(test, "needs root, to become another user");
    }
    in_netns(test, || {
        let (_dir, program) = public_place();
        let cgroup = Cgroup::below_our_own(&format!("{name}-{}.service", std::process::id()));
        let dir = cgroup.dir.as_ref().filter(|_| cgroup.is_ours);
        let dir = dir.map_or("", |dir| dir.to_str().expect("a plain path"));
        let _leak = Player::start(&format!("leak-in {dir}"), |_| ());
        settle();
        body(&cgroup, &program);
    });
}

/// A check as another user that finds young sockets stuck.
fn young_check(program: &Path) -> Command {
    let mut command = as_nobody(program);
    command.args(["check", "--no-history"]).args(YOUNG);
    command
}

/// The row of root's sockets in a check as another user, when they are stuck.
fn owner_seen(check: impl Fn() -> Command) -> Value {
    let mut seen = Value::Null;
    wait_until("the sockets to be stuck", || {
        let output = check().args(["--format", "zabbix"]).output().expect("closewatch starts");
        seen = serde_json::from_slice(&output.stdout).expect("JSON");
        seen["metrics"]["stuck"] == json!(LEAKED)
    });
    assert_eq!(seen["owners_complete"], json!(false));
    seen["processes"][0].clone()
}

#[test]
fn a_leak_is_told_by_the_unit_that_it_was_made_in() {
    beside_a_leak("a_leak_is_told_by_the_unit_that_it_was_made_in", "leaky", |cgroup, program| {
        let (name, by) = cgroup.owner();
        let owner = owner_seen(|| young_check(program));
        assert_eq!((&owner["name"], &owner["by"]), (&json!(name), &json!(by)), "made in {}", cgroup.path);
        assert_eq!((&owner["close_wait"], &owner["stuck"]), (&json!(LEAKED), &json!(LEAKED)));
        let story = owner["story"].as_str().expect("a story");
        assert!(story.starts_with(&format!("a process of {name} holds 30 sockets to 127.0.0.2:8086")), "{story}");
        // The reports say it too; and whoever may look sees the process.
        let report = |options: &[&str]| {
            let mut command = as_nobody(program);
            command.arg("report").args(YOUNG).args(options);
            command
        };
        let unit = name.strip_prefix("user 0 in ");
        let rows = json_of(&mut report(&["--json"]));
        assert_eq!(rows["strangers"].as_array().map(Vec::len), Some(1), "{:#}", rows["strangers"]);
        if cgroup.is_ours {
            assert_eq!(rows["strangers"][0]["unit"].as_str(), unit);
            let page = text(&report(&[]).output().expect("setpriv starts").stdout);
            let place = format!("processes of {name} that could not be seen hold");
            let said = page.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(&place), "{place}: {page}");
            let whole = json_of(Command::new(program).arg("report").args(YOUNG).arg("--json"));
            assert_eq!((&whole["strangers"], whole["processes"][0]["unit"].as_str()), (&json!([]), unit));
        }
    });
}

#[test]
fn a_recording_keeps_the_unit() {
    beside_a_leak("a_recording_keeps_the_unit", "kept", |cgroup, program| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("look");
        // The sockets are of a second and older: the threshold that the report takes is what counts.
        let record = as_nobody(program).args(["record", "--netns", "current", "-"]).output().expect("setpriv starts");
        assert!(record.status.success(), "{}", text(&record.stderr));
        fs::write(&file, record.stdout).expect("written");
        let check = || {
            let mut command = support::closewatch();
            command.args(["check", "--stuck-after", "0s", "--from"]).arg(&file);
            command
        };
        let (name, by) = cgroup.owner();
        let owner = owner_seen(check);
        assert_eq!((&owner["name"], &owner["by"]), (&json!(name), &json!(by)), "made in {}", cgroup.path);
    });
}

#[test]
fn a_cgroup_that_is_gone_is_told_and_the_user_stays() {
    let test = "a_cgroup_that_is_gone_is_told_and_the_user_stays";
    beside_a_leak(test, "gone", |cgroup, program| {
        // Where none can be made, none can be removed: what is not found is a test of `capture::cgroup_tree` too.
        let Some(dir) = cgroup.dir.as_ref().filter(|_| cgroup.is_ours) else { return };
        // Its process moves on, and its sockets stay what they were made as.
        let pids = fs::read_to_string(dir.join("cgroup.procs")).expect("listed");
        fs::write(dir.parent().expect("above").join("cgroup.procs"), pids.trim()).expect("moved");
        fs::remove_dir(dir).expect("it is empty");
        let owner = owner_seen(|| young_check(program));
        let rows = json_of(as_nobody(program).arg("report").args(YOUNG).arg("--json"));
        fs::create_dir(dir).expect("made again, to be removed");
        assert_eq!((&owner["name"], &owner["by"]), (&json!("user 0"), &json!("user")));
        let gaps = rows["coverage"]["gaps"].as_array().expect("gaps");
        let told = gaps.iter().find(|gap| gap["what"].as_str().is_some_and(|what| what.starts_with("the cgroups of")));
        assert_eq!(told.map(|gap| &gap["count"]), Some(&json!(LEAKED)), "{gaps:#?}");
    });
}

#[test]
fn a_unit_with_the_worst_name_is_told_in_plain_letters() {
    let test = "a_unit_with_the_worst_name_is_told_in_plain_letters";
    beside_a_leak(test, "evil\"\\\u{1b}[2J{#X}|'$(id)\u{202e}", |cgroup, program| {
        let owner = owner_seen(|| young_check(program));
        let name = owner["name"].as_str().expect("a name");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || " .-_@:[]".contains(c)), "{name}");
        if cgroup.is_ours {
            assert!(name.starts_with("user 0 in evil___[2J__X"), "{name}");
        }
        let page = as_nobody(program).arg("report").args(YOUNG).output().expect("setpriv starts");
        let page = String::from_utf8(page.stdout).expect("UTF-8");
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()) && !page.contains('\u{202e}'), "{page:?}");
    });
}
