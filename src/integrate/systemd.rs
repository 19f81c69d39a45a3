//! A service that checks once, and the timer that starts it.
//!
//! The service is root without what makes root mighty: it has the two capabilities that naming other users' processes takes, a
//! file system that may be written to in one place, no address family but netlink, so that it cannot ask other services of
//! root for favours, and no system call that mounts, traces or loads. A user of its own would leave a history that belongs to
//! neither root nor whoever asks, and that root's own commands would rightly not trust.
//!
//! What would blind it is left out on purpose: `PrivateNetwork`, `ProtectProc`, `ProcSubset`, and address families without
//! `AF_NETLINK`.

/// Where each unit goes.
const SERVICE: &str = "/etc/systemd/system/closewatch.service";
const TIMER: &str = "/etc/systemd/system/closewatch.timer";

/// Both units, each below the name of its file.
pub(super) fn both(program: &str) -> String {
    format!(
        "\
# Two files; `--unit service` and `--unit timer` print them one by one. Then:
#   systemctl daemon-reload && systemctl enable --now closewatch.timer

{}
{}",
        service(program),
        timer()
    )
}

/// The service.
pub(super) fn service(program: &str) -> String {
    let program = word(program);
    format!(
        "\
# {SERVICE}
[Unit]
Description=Check for leaked TCP sockets and ports that run out
Documentation=man:closewatch(1)
# A check that is not OK makes the unit fail; to be told of it, name a unit of your own:
#OnFailure=

[Service]
Type=oneshot
ExecStart={program} check --timeout 30
TimeoutStartSec=60
Nice=10

# Root, so that the history is root's own: `closewatch` as root reads it and adds to it. Of what root may do it keeps the reading
# of other users' descriptors, and nothing else. To enter other network namespaces, those of containers for example, add
# CAP_SYS_ADMIN; without it they are read from outside, which tells less.
CapabilityBoundingSet=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH

# /var/lib/closewatch, where root's `closewatch` looks too, and the one place that it may write to.
StateDirectory=closewatch
StateDirectoryMode=0750
UMask=0027
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_NETLINK
RestrictNamespaces=net
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap ptrace process_vm_writev kill
"
    )
}

/// The timer.
pub(super) fn timer() -> String {
    format!(
        "\
# {TIMER}
[Unit]
Description=Check for leaked TCP sockets every five minutes

[Timer]
OnCalendar=*:0/5
# Hosts do not check at the same moment, and each always at its own.
RandomizedDelaySec=20s
FixedRandomDelay=yes
AccuracySec=1s

[Install]
WantedBy=timers.target
"
    )
}

/// The path as one word of a command line: systemd.service(5), "COMMAND LINES".
fn word(path: &str) -> String {
    let plain = path.replace('%', "%%").replace('$', "$$").replace('\\', "\\\\").replace('"', "\\\"");
    let is_plain = plain.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+@:%".contains(c));
    if is_plain { plain } else { format!("\"{plain}\"") }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(word("/usr/bin/closewatch"), "/usr/bin/closewatch");
        assert_eq!(word("/opt/my tools/100%/closewatch"), "\"/opt/my tools/100%%/closewatch\"");
    }
}
