//! Sockets that a process holds without a descriptor of its own: who holds them is said all the same, or why not.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{entry, has_program, in_netns, listen, report_json, skip};

/// Connects to the server, and waits for its end of file.
const CONNECT: &str = "\
import ctypes, socket, sys
stream = socket.create_connection(('127.0.0.2', 8086))
stream.recv(1)
";
/// Leaves the descriptor in the receive queue of a UNIX socket.
const SEND: &str = "\
one, other = socket.socketpair()
socket.send_fds(one, [b'x'], [stream.fileno()])
stream.close()
";
/// Registers the descriptor with a ring (io_uring_setup 425, io_uring_register 427, IORING_REGISTER_FILES 2) and closes it.
const REGISTER: &str = "\
kernel = ctypes.CDLL(None, use_errno=True)
ring = kernel.syscall(425, 8, (ctypes.c_char * 120)())
done = ring >= 0 and kernel.syscall(427, ring, 2, (ctypes.c_int * 1)(stream.fileno()), 1) == 0
if not done:
    print('no io_uring:', ctypes.get_errno(), flush=True)
    sys.exit()
stream.close()
";
const WAIT: &str = "\
print('ready', flush=True)
sys.stdin.read()
";

/// Runs the script and says what it printed first.
fn start(script: &str) -> (Child, String) {
    let mut command = Command::new("python3");
    command.args(["-c", &format!("{CONNECT}{script}{WAIT}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    (child, line)
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.stdout.take().map(|mut out| out.read_to_string(&mut String::new()));
    child.wait().expect("it ends");
}

/// The script's CLOSE-WAIT, and the report about it; `None` when the script could not do its part.
fn report_about(test: &str, script: &str) -> Option<(u32, Value)> {
    if !has_program("python3") {
        skip(test, "needs python3");
        return None;
    }
    let server = listen("127.0.0.2:8086");
    let accepting = std::thread::spawn(move || drop(server.accept().expect("accepts")));
    let (child, line) = start(script);
    accepting.join().expect("the server ends");
    let (pid, report) = (child.id(), report_json(&[]));
    end(child);
    if line.trim() != "ready" {
        skip(test, &line);
        return None;
    }
    assert_eq!(report["totals"]["states"]["close_wait"], json!(1));
    Some((pid, report))
}

#[test]
fn a_socket_that_is_registered_with_io_uring_has_a_holder() {
    const NAME: &str = "a_socket_that_is_registered_with_io_uring_has_a_holder";
    in_netns(NAME, || {
        let Some((pid, report)) = report_about(NAME, REGISTER) else { return };
        assert_eq!(entry(&report, "processes", "pid", &json!(pid))["close_wait"]["count"], json!(1));
        assert_eq!(report["unowned"]["close_wait"], json!(0));
    });
}

#[test]
fn a_descriptor_in_flight_is_said_to_be_in_flight() {
    const NAME: &str = "a_descriptor_in_flight_is_said_to_be_in_flight";
    in_netns(NAME, || {
        let Some((pid, report)) = report_about(NAME, SEND) else { return };
        assert_eq!(report["unowned"]["close_wait"], json!(1));
        let gaps = report["coverage"]["gaps"].as_array().expect("a list");
        let gap = gaps.iter().find(|gap| gap["what"] == "who holds 1 socket").expect("a gap");
        let why = gap["why"].as_str().expect("a reason");
        assert!(why.contains("in flight (SCM_RIGHTS) to python3") && why.contains(&pid.to_string()), "{why}");
        assert_eq!(gap["hides"], json!("owners"));
    });
}
