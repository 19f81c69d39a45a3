//! What the tests of blame share: connections in the condition that is wanted, and what closewatch says of them.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{entry, report_json, ss_count, wait_until};

/// Where the servers of the tests listen; below the range that ports are handed out from.
pub const SERVER: &str = "127.0.0.2:8086";

/// More than any idle pool keeps for one destination.
pub const MANY: usize = 25;

/// Both ends of a new connection: the one that connects, and the one that was accepted.
pub fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (server, _) = listener.accept().expect("accepts");
    (client, server)
}

/// A client in CLOSE-WAIT whose server wrote a body and closed.
pub fn hung_up_after(listener: &TcpListener, body: &[u8]) -> TcpStream {
    let (client, mut server) = connected(listener);
    server.write_all(body).expect("the buffer takes it");
    client
}

/// Waits until every peer that has closed has got the acknowledgement of its FIN.
pub fn wait_for_fins() {
    wait_until("every FIN to be acknowledged", || ss_count("fin-wait-1") == 0);
}

/// When something happened, between two readings of the clock.
#[derive(Clone, Copy)]
pub struct Moment {
    pub not_before: Instant,
    pub not_after: Instant,
}

/// Does something and tells when.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Moment) {
    let not_before = Instant::now();
    let done = act();
    (done, Moment { not_before, not_after: Instant::now() })
}

/// One report, and when it was asked for and answered.
pub struct Look {
    pub report: Value,
    asked: Instant,
    answered: Instant,
}

/// Looks at this namespace.
pub fn look(options: &[&str]) -> Look {
    let (report, when) = timed(|| report_json(options));
    Look { report, asked: when.not_before, answered: when.not_after }
}

/// Looks until the report is as described.
pub fn look_until(what: &str, options: &[&str], condition: impl Fn(&Look) -> bool) -> Look {
    let mut seen = look(options);
    wait_until(what, || {
        condition(&seen) || {
            seen = look(options);
            condition(&seen)
        }
    });
    seen
}

/// Looks until this rule has found something that is graded, with this age for a stuck socket.
pub fn look_for(rule: &str, stuck_after: &str) -> Look {
    let graded = |look: &Look| look.of(rule).iter().any(|found| ["warning", "critical"].contains(&severity(found)));
    look_until(&format!("a finding of {rule}"), &["--stuck-after", stuck_after], graded)
}

fn severity(finding: &Value) -> &str {
    finding["severity"].as_str().expect("a word")
}

impl Look {
    /// What this rule has found.
    pub fn of(&self, rule: &str) -> Vec<&Value> {
        let findings = self.report["findings"].as_array().expect("a list");
        findings.iter().filter(|finding| finding["rule"] == rule).collect()
    }

    /// The one thing that this rule has found.
    pub fn only(&self, rule: &str) -> &Value {
        match self.of(rule)[..] {
            [finding] => finding,
            ref findings => panic!("one finding of {rule} was expected: {findings:#?}"),
        }
    }

    /// Fails if this rule has found anything at all.
    pub fn nothing_of(&self, rule: &str) {
        let findings = self.of(rule);
        assert!(findings.is_empty(), "{rule} has nothing to find here: {findings:#?}");
    }

    /// The row of a process.
    pub fn process(&self, pid: u32) -> &Value {
        entry(&self.report, "processes", "pid", &json!(pid))
    }

    /// What the row of a process says of its CLOSE-WAIT.
    pub fn close_wait(&self, pid: u32) -> &Value {
        &self.process(pid)["close_wait"]
    }

    /// Holds the age that is told of the oldest CLOSE-WAIT of a process against the moment when the first peer closed.
    pub fn assert_age(&self, pid: u32, first: Moment) {
        let close_wait = self.close_wait(pid);
        let told = |bound: &str| close_wait[bound].as_f64().unwrap_or_else(|| panic!("{bound}: {close_wait:#}"));
        // One tick of the coarsest kernel clock either way.
        let tick = 0.011;
        let most = (self.answered - first.not_before).as_secs_f64() + tick;
        let least = (self.asked - first.not_after).as_secs_f64() - tick;
        let (at_least, at_most) = (told("oldest_at_least_s"), told("oldest_at_most_s"));
        assert!(at_least <= most, "at least {at_least} s, and it is {most} s old at most");
        assert!(at_most >= least, "at most {at_most} s, and it is {least} s old at least");
    }
}

/// How bad and how sure a finding is.
pub fn grade(finding: &Value) -> (&str, &str) {
    (severity(finding), finding["confidence"].as_str().expect("a word"))
}

/// The process that a finding is about.
pub fn blamed(finding: &Value) -> u32 {
    let pid = finding["subject"]["pid"].as_u64();
    u32::try_from(pid.unwrap_or_else(|| panic!("no process: {:#}", finding["subject"]))).expect("a pid")
}

/// Fails unless one of the finding's sentences says this.
pub fn assert_says(finding: &Value, words: &str) {
    let details = finding["details"].as_array().expect("a list").iter().chain([&finding["summary"]]);
    let said = details.filter_map(Value::as_str).any(|sentence| sentence.contains(words));
    assert!(said, "nothing says `{words}`: {finding:#}");
}

/// A number that the finding rests on.
pub fn evidence(finding: &Value, name: &str) -> f64 {
    let found = finding["evidence"].as_array().expect("a list").iter().find(|entry| entry["name"] == name);
    let observed = found.and_then(|entry| entry["observed"].as_f64());
    observed.unwrap_or_else(|| panic!("no {name}: {:#}", finding["evidence"]))
}
