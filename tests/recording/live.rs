//! Recordings of real sockets, made and read by the program itself.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

use closewatch::capture::live::LiveHost;
use closewatch::capture::recording::{decode, encode};
use closewatch::capture::{Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource};
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::{Names, Snapshot};
use closewatch::render::Format;
use serde_json::{Value, json};

use crate::support::nobody::{as_nobody, public_place};
use crate::support::{self, close_wait, closewatch, in_netns, is_root, json_of, listen, skip, text};
use crate::{as_seen, report_on};

/// A process that holds one socket: its standard input.
struct Holder(Child);

impl Holder {
    fn of(socket: TcpStream) -> Self {
        let child = Command::new("sleep").arg("600").stdin(Stdio::from(OwnedFd::from(socket))).spawn();
        Self(child.expect("sleep starts"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// So many sockets: half of them CLOSE-WAIT, of several holders, the other half their orphaned ends.
struct Crowd {
    _listener: TcpListener,
    _leaked: Vec<TcpStream>,
    holders: Vec<Holder>,
}

fn crowd(sockets: usize) -> Crowd {
    support::raise_descriptor_limit();
    let listener = listen("127.0.0.2:8086");
    let holders: Vec<Holder> = (0..3).map(|_| Holder::of(close_wait(&listener))).collect();
    let leaked = (0..(sockets - 1) / 2 - holders.len()).map(|_| close_wait(&listener)).collect();
    support::wait_until("every FIN to be acknowledged", || support::ss_count("fin-wait-1") == 0);
    Crowd { _listener: listener, _leaked: leaked, holders }
}

fn look() -> Snapshot {
    let request = Request {
        netns: NetNsChoice::Current,
        selection: Selection::default(),
        processes: ProcessChoice::Attribute,
        port_probe: PortProbeChoice::Bounds,
        deadline: Deadline::never(),
    };
    LiveHost.take(&request).expect("a look")
}

fn without_source(mut report: Value) -> Value {
    report.as_object_mut().expect("an object").remove("source").expect("a source");
    report
}

#[test]
fn another_user_reads_the_same_findings_from_the_recording_of_a_crowd() {
    let test = "live::another_user_reads_the_same_findings_from_the_recording_of_a_crowd";
    if !is_root() {
        return skip(test, "needs root, to become another user");
    }
    in_netns(test, || {
        let crowd = crowd(20_000);
        let snapshot = look();
        assert!(snapshot.sockets.len() >= 19_990, "{} sockets", snapshot.sockets.len());

        let bytes = encode(&snapshot, Names::Real).expect("not large");
        let read = decode(&bytes).expect("whole");
        let per_socket = bytes.len() as f64 / snapshot.sockets.len() as f64;
        assert!(per_socket < 30.0, "{per_socket} bytes a socket");
        assert_eq!(as_seen(read), snapshot);

        // The program, as another user who could read none of this from the kernel.
        let (dir, program) = public_place();
        let file = dir.path().join("look");
        fs::write(&file, &bytes).expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("chmod");
        let printed = json_of(as_nobody(&program).args(["report", "--json", "--from"]).arg(&file));
        let expected: Value = serde_json::from_str(&report_on(&snapshot, Format::Json).0).expect("JSON");
        assert_eq!(
            printed["source"],
            json!({
                "kind": "recording",
                "recorded_from": "netlink",
                "recorded_by": format!("closewatch {}", env!("CARGO_PKG_VERSION")),
                "file": file,
                "anonymized": false,
                "processes": "all",
                "took_s": expected["source"]["took_s"],
            })
        );
        assert_eq!(without_source(printed.clone()), without_source(expected));
        for pid in crowd.holders.iter().map(|holder| holder.0.id()).chain([std::process::id()]) {
            let process = support::entry(&printed, "processes", "pid", &json!(pid));
            assert!(process["close_wait"]["count"].as_u64() > Some(0), "{process}");
        }
    });
}

#[test]
fn record_writes_what_report_reads_from_a_file_and_from_a_pipe() {
    let test = "live::record_writes_what_report_reads_from_a_file_and_from_a_pipe";
    in_netns(test, || {
        let _crowd = crowd(60);
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("look");
        let output = closewatch().args(["record", "--netns", "current"]).arg(&file).output().expect("starts");
        assert_said(&output, "");
        let from_file = json_of(closewatch().args(["--json", "--from"]).arg(&file));
        assert_eq!(from_file["totals"]["states"]["close_wait"], json!(29));

        let piped = closewatch().args(["record", "-v", "-", "--from"]).arg(&file).output().expect("starts");
        assert!(piped.status.success(), "{}", text(&piped.stderr));
        let said = text(&piped.stderr);
        assert!(said.starts_with("closewatch: recorded 59 sockets in 1 namespace, 4 processes"), "{said}");
        let copy = dir.path().join("copy");
        fs::write(&copy, &piped.stdout).expect("written");
        let stdin = fs::File::open(&copy).expect("there");
        let from_pipe = json_of(closewatch().args(["--json", "--from", "-"]).stdin(stdin));
        assert_eq!(from_pipe["source"]["file"], Value::Null);
        assert_eq!(without_source(from_pipe), without_source(from_file.clone()), "a recording of a recording");

        // Filters are for the reader.
        let filtered = json_of(closewatch().args(["--json", "--state", "listen", "--from"]).arg(&file));
        assert_eq!((&filtered["totals"]["sockets"], &filtered["query"]["filtered"]), (&json!(1), &json!(true)));
        let me = std::process::id().to_string();
        let mine = json_of(closewatch().args(["--json", "--pid", &me, "--from"]).arg(&file));
        assert_eq!(mine["totals"]["states"]["close_wait"], json!(26));
    });
}

#[test]
fn an_anonymized_recording_says_so_and_agrees_with_others_of_its_key() {
    let test = "live::an_anonymized_recording_says_so_and_agrees_with_others_of_its_key";
    in_netns(test, || {
        let _crowd = crowd(60);
        let dir = tempfile::tempdir().expect("a directory");
        let [plain, key] = ["plain", "key"].map(|name| dir.path().join(name));
        fs::write(&key, "00112233445566778899aabbccddeeff\n").expect("written");
        assert_said(&closewatch().arg("record").arg(&plain).output().expect("starts"), "");
        let anonymized = |name: &str, options: &[&std::ffi::OsStr]| {
            let file = dir.path().join(name);
            let mut command = closewatch();
            command.args(["record", "--anonymize"]).args(options).arg("--from").arg(&plain).arg(&file);
            assert_said(&command.output().expect("starts"), "");
            json_of(closewatch().args(["--json", "--from"]).arg(&file))
        };
        let with_key = ["--anonymize-key".as_ref(), key.as_os_str()];
        let [first, second] = ["first", "second"].map(|name| without_source(anonymized(name, &with_key)));
        assert_eq!(first, second);
        let random = anonymized("random", &[]);
        assert_eq!(random["source"]["anonymized"], json!(true));
        let original = json_of(closewatch().args(["--json", "--from"]).arg(&plain));
        assert_eq!(random["totals"], original["totals"]);
        for names in [&first["host"]["name"], &random["host"]["name"]] {
            assert_ne!(*names, original["host"]["name"]);
        }
        assert_ne!(random["host"]["name"], first["host"]["name"]);
        let table = closewatch().arg("--from").arg(dir.path().join("random")).output().expect("starts");
        let printed = text(&table.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(printed.contains("its names and addresses are invented ones"), "{printed}");
    });
}

#[test]
fn a_recording_without_processes_refuses_to_be_asked_about_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("look");
    let output = closewatch().args(["record", "--no-processes"]).arg(&file).output().expect("starts");
    assert_said(&output, "");
    let output = closewatch().args(["--pid", "1", "--from"]).arg(&file).output().expect("starts");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("closewatch: --from: the file does not tell which process holds a socket\nhint: "),
        "{said}"
    );
}

/// It succeeded, printed nothing, and said just this.
fn assert_said(output: &Output, expected: &str) {
    assert!(output.status.success() && output.stdout.is_empty(), "{}: {}", output.status, text(&output.stderr));
    assert_eq!(text(&output.stderr), expected);
}
