//! A history that is built after the fact, of recordings of real sockets.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use closewatch::capture::recording::{decode, encode};
use closewatch::model::snapshot::{Names, Snapshot};
use serde_json::{Value, json};

use crate::command::refusal;
use crate::support::{close_wait, closewatch, in_netns, listen, settle, text};

fn record(file: &Path) {
    let output = closewatch().args(["record", "--netns", "current"]).arg(file).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn build(from: &[&Path], options: &[&str]) -> Output {
    let mut command = closewatch();
    command.arg("history");
    for from in from {
        command.arg("--from").arg(from);
    }
    command.args(options).output().expect("the program starts")
}

fn built(from: &[&Path], options: &[&str]) -> Value {
    let output = build(from, &[options, &["--json"]].concat());
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// How many ports to the leak's destination were used at each point.
fn used(document: &Value) -> Vec<u64> {
    let series = document["series"].as_array().expect("series").iter();
    let pool = series.clone().find(|row| row["destination"] == json!("127.0.0.2:8086"));
    let points = pool.unwrap_or_else(|| panic!("no pool: {document:#}"))["points"].as_array().expect("points").iter();
    points.map(|point| point["used"].as_u64().expect("a count")).collect()
}

fn edited(file: &Path, copy: &Path, edit: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = decode(&fs::read(file).expect("there")).expect("a recording");
    edit(&mut snapshot);
    fs::write(copy, encode(&snapshot, Names::Real).expect("not large")).expect("written");
}

#[test]
fn recordings_become_a_history_in_the_order_of_their_time_each_once() {
    in_netns("recordings::recordings_become_a_history_in_the_order_of_their_time_each_once", || {
        let dir = tempfile::tempdir().expect("a directory");
        let server = listen("127.0.0.2:8086");
        let mut leaked: Vec<TcpStream> = (0..3).map(|_| close_wait(&server)).collect();
        settle();
        let folder = dir.path().join("recordings");
        fs::create_dir(&folder).expect("made");
        // Their names are in another order than their moments.
        let (first, second, third) = (folder.join("z.cw"), dir.path().join("second.cw"), folder.join("a.cw"));
        record(&first);
        leaked.extend((0..4).map(|_| close_wait(&server)));
        settle();
        record(&second);
        leaked.extend((0..5).map(|_| close_wait(&server)));
        settle();
        record(&third);
        fs::copy(&first, folder.join("copy.cw")).expect("copied");
        fs::write(folder.join("README"), "what these are").expect("written");

        let document = built(&[&second, &folder, &second], &[]);
        assert_eq!(used(&document), [3, 7, 12]);
        assert_eq!((&document["remembered"]["looks"], &document["remembered"]["file"]), (&json!(3), &Value::Null));
        let notes = document["notes"].to_string();
        for note in
            ["3 recordings added", "1 file is no recording, and left out", "2 recordings are of the same moment"]
        {
            assert!(notes.contains(note), "{note}: {notes}");
        }

        let kept = dir.path().join("kept.db");
        let options = ["--history", kept.to_str().expect("a plain path")];
        assert_eq!(used(&built(&[&first, &second], &options)), [3, 7]);
        let grown = built(&[&folder, &second], &options);
        assert_eq!(used(&grown), [3, 7, 12], "what is known is not added again");
        assert!(grown["notes"].to_string().contains("2 recordings left out: no later than"), "{}", grown["notes"]);
        let shown = closewatch().args(["history", "--json"]).args(options).output().expect("starts");
        assert_eq!(used(&serde_json::from_slice(&shown.stdout).expect("JSON")), [3, 7, 12], "it was kept");
    });
}

#[test]
fn a_leak_of_hours_is_seen_in_recordings() {
    in_netns("recordings::a_leak_of_hours_is_seen_in_recordings", || {
        let dir = tempfile::tempdir().expect("a directory");
        let server = listen("127.0.0.2:8086");
        let leaked: Vec<TcpStream> = (0..700).map(|_| close_wait(&server)).collect();
        settle();
        let last = dir.path().join("last.cw");
        record(&last);
        drop(leaked);
        // The same look as it would have been at each five minutes of the four hours before it.
        let folder = dir.path().join("recordings");
        fs::create_dir(&folder).expect("made");
        for ago in 0..48_u32 {
            edited(&last, &folder.join(format!("{ago}.cw")), |snapshot| {
                let span = Duration::from_secs(300) * ago;
                snapshot.taken_at -= span;
                snapshot.host.uptime = snapshot.host.uptime.map(|uptime| uptime.saturating_sub(span));
                let mut left = 700 - 14 * ago as usize;
                snapshot.sockets.retain(|socket| {
                    let stays = !socket.is_close_wait() || left > 0;
                    left -= usize::from(socket.is_close_wait() && left > 0);
                    stays
                });
                for clocks in snapshot.sockets.iter_mut().filter_map(|socket| socket.clocks.as_mut()) {
                    for clock in
                        [&mut clocks.last_data_sent_ms, &mut clocks.last_data_recv_ms, &mut clocks.last_ack_recv_ms]
                    {
                        *clock += 120_000;
                    }
                }
            });
        }
        let document = built(&[&folder], &[]);
        assert_eq!(used(&document).len(), 48);
        let growing = &document["series"][0];
        assert_eq!(growing["growth"]["kind"], json!("leak"), "{}", document["headline"]);
        let per_hour = growing["growth"]["per_hour"].as_f64().expect("a number");
        assert!((per_hour - 168.0).abs() < 10.0, "{per_hour}");
        let notes = document["notes"].to_string();
        assert!(notes.contains("48 recordings added"), "{notes}");
    });
}

#[test]
fn recordings_of_several_hosts_and_what_tells_no_time_are_refused() {
    in_netns("recordings::recordings_of_several_hosts_and_what_tells_no_time_are_refused", || {
        let dir = tempfile::tempdir().expect("a directory");
        let [one, other, reboot, renamed] =
            ["one.cw", "other.cw", "reboot.cw", "renamed.cw"].map(|name| dir.path().join(name));
        let raw = dir.path().join("raw");
        record(&raw);
        edited(&raw, &one, |snapshot| snapshot.host.name = Some("web-1".to_owned()));
        let later = |snapshot: &mut Snapshot, name: &str, boot: &str| {
            snapshot.taken_at += Duration::from_secs(300);
            snapshot.host.name = Some(name.to_owned());
            snapshot.host.boot_id = Some(boot.to_owned());
        };
        let boot = decode(&fs::read(&raw).expect("there")).expect("a recording").host.boot_id.expect("a boot");
        edited(&raw, &other, |snapshot| later(snapshot, "db-2\u{1b}[2J", "another"));
        edited(&raw, &reboot, |snapshot| later(snapshot, "web-1", "another"));
        edited(&raw, &renamed, |snapshot| later(snapshot, "web-1.example.org", &boot));
        let [line, hint] = refusal(&build(&[&one, &other], &[]));
        let expected = format!("one.cw is of the host web-1, and {} of the host db-2\\u{{1b}}[2J", other.display());
        assert!(line.ends_with(&expected) && hint.contains("one host"), "{line}");
        assert_eq!(built(&[&one, &reboot], &[])["remembered"]["looks"], json!(2), "the same host, started anew");
        assert_eq!(built(&[&one, &renamed], &[])["remembered"]["looks"], json!(2), "the same boot under another name");

        let ss = dir.path().join("ss.txt");
        fs::write(&ss, "ESTAB 0 0 10.0.0.1:40000 10.0.0.2:80\n").expect("written");
        let [line, hint] = refusal(&build(&[&one, &ss], &[]));
        assert!(line.contains("ss.txt is no recording: it tells neither its moment nor its host"), "{line}");
        assert!(hint.contains("closewatch record"), "{hint}");
        let cut = dir.path().join("cut.cw");
        fs::write(&cut, &fs::read(&one).expect("there")[..40]).expect("written");
        let [line, _] = refusal(&build(&[&cut], &[]));
        assert!(line.contains("its head cannot be read: the recording is cut short"), "{line}");
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).expect("made");
        assert!(refusal(&build(&[&empty], &[]))[0].contains("there is no recording in "));
        assert!(refusal(&build(&[&dir.path().join("none")], &[]))[0].contains("No such file or directory"));
    });
}
