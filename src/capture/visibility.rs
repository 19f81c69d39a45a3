//! Processes that this `/proc` does not show at all.

use super::proc_dir::ProcRoot;
use super::process_gaps::Privilege;
use crate::model::snapshot::{Gap, Hides};

/// The pid namespace of the host has this number on every kernel (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const HOST_PID_NAMESPACE: &[u8] = b"pid:[4026531836]";

/// Why there may be processes that are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hiding {
    /// `/proc` is mounted so that it shows nobody the processes of others.
    HidePid(HidePid),
    /// Process 1 is missing: something hides processes.
    NoInit,
    /// It shows the processes of one pid namespace, and that is not the host's.
    PidNamespace,
}

/// The options of a proc mount that hide processes (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HidePid {
    /// The value of `hidepid`: `invisible` and `ptraceable`, or a number on kernels before 5.8.
    mode: String,
    /// `gid`: members see all, but for `ptraceable`.
    gid: u32,
}

/// Why processes may be hidden from this one; `None` when all of the host are shown.
pub(super) fn read_hiding(root: &ProcRoot, privilege: Privilege) -> Option<Hiding> {
    let own = root.own().ok()?;
    let text = |name| own.read(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    if let Some(hidepid) = parse_hidepid(&text("mountinfo"))
        && !privilege.ptrace
        && !(hidepid.spares_group() && is_member(hidepid.gid))
    {
        return Some(Hiding::HidePid(hidepid));
    }
    if root.process(1).is_err() {
        return Some(Hiding::NoInit);
    }
    let inside = own.link("ns/pid").is_ok_and(|link| link != HOST_PID_NAMESPACE);
    (inside && n_numbers(&text("status")) <= 1).then_some(Hiding::PidNamespace)
}

impl HidePid {
    fn spares_group(&self) -> bool {
        !matches!(self.mode.as_str(), "ptraceable" | "4")
    }
}

impl Hiding {
    /// The gap that is left: `n_ownerless` sockets have a file and no holder that could be seen. `None` when all of
    /// them have one, and nothing hides processes that may share it.
    pub(super) fn gap(&self, n_ownerless: Option<u64>) -> Option<Gap> {
        let n_ownerless = n_ownerless.filter(|n| *n > 0);
        if matches!(self, Self::PidNamespace) && n_ownerless.is_none() {
            return None;
        }
        let what = match n_ownerless {
            Some(1) => "the process that holds 1 socket".to_owned(),
            Some(n) => format!("the processes that hold {n} sockets"),
            None => "processes of other users".to_owned(),
        };
        Some(Gap { what, why: self.why(), hides: Hides::Owners, count: n_ownerless.unwrap_or(1) })
    }

    fn why(&self) -> String {
        match self {
            Self::HidePid(hidepid) => {
                let group = match hidepid.spares_group() {
                    true => format!(" or the group {}", hidepid.gid),
                    false => String::new(),
                };
                format!(
                    "/proc is mounted with hidepid={}: it does not show the processes of other users; \
                     needs CAP_SYS_PTRACE{group}",
                    hidepid.mode
                )
            }
            Self::NoInit => "process 1 is not in /proc: it does not show every process".to_owned(),
            Self::PidNamespace => "/proc shows the processes of one container only: those of the host and of other \
                                   containers are seen from the pid namespace of the host"
                .to_owned(),
        }
    }
}

/// The options of the mount on `/proc` (of several, the last lies on top) when they make processes invisible. With
/// `hidepid=noaccess` processes are listed, and each refuses to be read.
fn parse_hidepid(mountinfo: &str) -> Option<HidePid> {
    // 22 27 0:21 / /proc rw,relatime - proc proc rw,hidepid=invisible
    let on_proc = |line: &&str| line.split(' ').nth(4) == Some("/proc");
    let mount = mountinfo.lines().rfind(on_proc)?;
    let options = mount.split_once(" - proc ")?.1.split(' ').next_back()?;
    let value = |key: &str| {
        options.split(',').find_map(|option| option.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')))
    };
    let mode = value("hidepid")?.to_owned();
    let gid = value("gid").and_then(|gid| gid.parse().ok()).unwrap_or(0);
    matches!(mode.as_str(), "invisible" | "2" | "ptraceable" | "4").then_some(HidePid { mode, gid })
}

/// How many numbers this process has: one in each pid namespace from that of `/proc` down to its own. With more than
/// one, `/proc` is that of a namespace above.
fn n_numbers(status: &str) -> usize {
    status.lines().find_map(|line| line.strip_prefix("NSpid:")).map_or(0, |pids| pids.split_whitespace().count())
}

fn is_member(gid: u32) -> bool {
    rustix::process::getegid().as_raw() == gid
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidepid(options: &str) -> Option<HidePid> {
        parse_hidepid(&format!(
            "27 1 254:0 / / rw - ext4 /dev/vda rw\n22 27 0:21 / /proc rw,nosuid shared:5 - proc proc {options}\n\
             23 22 0:22 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n"
        ))
    }

    #[test]
    fn the_options_of_the_mount_are_read() {
        assert_eq!(hidepid("rw"), None);
        assert_eq!(hidepid("rw,hidepid=noaccess"), None);
        assert_eq!(hidepid("rw,gid=33,hidepid=2"), Some(HidePid { mode: "2".into(), gid: 33 }));
        assert_eq!(hidepid("rw,hidepid=ptraceable"), Some(HidePid { mode: "ptraceable".into(), gid: 0 }));
        let stacked = "1 0 0:2 / /proc rw - proc proc rw,hidepid=2\n2 1 0:3 / /proc rw - proc none rw\n";
        assert_eq!(parse_hidepid(stacked), None);
    }

    #[test]
    fn the_numbers_of_a_process_are_counted() {
        assert_eq!(n_numbers("Pid:\t7\nNSpid:\t3451\t7\n"), 2);
        assert_eq!(n_numbers("Pid:\t7\nNSpid:\t7\n"), 1);
    }

    #[test]
    fn the_gap_tells_what_is_missing() {
        let hidden = Hiding::HidePid(HidePid { mode: "invisible".into(), gid: 33 });
        let gap = hidden.gap(Some(12)).expect("a gap");
        assert_eq!((gap.what.as_str(), gap.count), ("the processes that hold 12 sockets", 12));
        assert!(gap.why.ends_with("needs CAP_SYS_PTRACE or the group 33"), "{}", gap.why);
        assert_eq!(hidden.gap(Some(0)).expect("a gap").what, "processes of other users");
        assert_eq!(Hiding::PidNamespace.gap(Some(0)), None);
        assert!(Hiding::PidNamespace.gap(Some(1)).is_some());
    }
}
