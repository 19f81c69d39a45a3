//! Looks that somebody saved, made by hand: the text of `ss -tanpieo`.

use std::path::Path;
use std::process::Output;

/// A listener, without which a saved text does not tell which connections came in.
pub const LISTENER: &str =
    "LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=1,fd=3)) uid:0 ino:1 sk:1 cgroup:/ <->\n\t cubic cwnd:10\n";

/// Names that try to break out of whatever they are written into.
pub const EVIL_NAMES: [&str; 9] = [
    "quo\"te",
    "back\\slash\\",
    "a=b,c d",
    "\u{1b}[31m",
    "{#MACRO}",
    "$(reboot)`x`",
    "\u{202e}\u{9b}2J",
    "}{\"#",
    "gr\u{f6}\u{df}er \u{65e5}",
];

/// Sockets that the process of this name read to the end of file and did not close, as `ss -tanpieo` prints them.
pub fn leaked_by(name: &str, pid: u16, sockets: u16) -> String {
    let row = |nth: u16| {
        let (port, inode) = (40_000 + nth, u32::from(pid) * 1_000 + u32::from(nth));
        format!(
            "CLOSE-WAIT 0 0 10.0.0.5:{port} 10.0.{}.{}:8086 users:((\"{name}\",pid={pid},fd=7)) uid:999 ino:{inode} \
             sk:{inode:x} cgroup:/ -->\n\t ts sack cubic wscale:7,7 rto:204 rtt:0.03/0.01 mss:1448 cwnd:10 bytes_received:1 \
             segs_out:5 segs_in:4 lastsnd:900000 lastrcv:900000 lastack:900000 rcv_space:14480 minrtt:0.02\n",
            pid / 250,
            pid % 250
        )
    };
    (0..sockets).map(row).collect()
}

/// What a check of a saved text prints in this format.
pub fn check_saved(saved: &str, format: &str, options: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("saved");
    std::fs::write(&path, saved).expect("written");
    check_file(&path, format, options)
}

/// The same of a text that is in a file.
pub fn check_file(saved: &Path, format: &str, options: &[&str]) -> Output {
    let mut command = super::closewatch();
    command.args(["check", "--ephemeral-range", "32768-60999", "--format", format, "--from"]).arg(saved).args(options);
    command.output().expect("closewatch starts")
}
