//! What to do, and the commands for it. A command is offered only when pasting it does what the sentence says: no name in it
//! that is not printable as it stands, no setting that would overwrite an unknown one, and in the right namespace.

use std::borrow::Cow;

use crate::diagnosis::finding::{Remedy, When};
use crate::diagnosis::scene::{Scene, short_id};
use crate::model::ports::PortSet;
use crate::model::process::{Process, ProcessIndex};
use crate::model::socket::NetNsIndex;
use crate::model::text::{printable, shell_word};
use crate::model::tuple::Endpoint;
use crate::model::wording::{count, counted, list};

/// How many ports a sentence names before it counts the rest.
const PORTS_NAMED: usize = 8;

/// A longer list of reserved ports is for a file, not for a command line (the kernel reads it in pages of 4,096 bytes).
const LONGEST_PORT_LIST: usize = 1_000;

/// What is lost when a program ends.
pub(super) const RELIEF: &str = "frees its ports and descriptors; the leak starts again";

/// Restart what holds the sockets: the unit, the container, or the process by itself. `effect` ends the sentence.
pub(super) fn restart(scene: &Scene<'_>, process: ProcessIndex, effect: &str) -> Remedy {
    let Some(known) = scene.process(process) else {
        return Remedy::new(When::Now, format!("restart the program that holds the sockets: it {effect}"));
    };
    let placement = known.placement.as_ref();
    let container = placement.and_then(|placement| placement.container.as_deref());
    let unit = placement.and_then(|placement| placement.unit.as_deref()).filter(|unit| is_service(unit));
    match (container, unit) {
        (Some(container), _) => {
            let id = short_id(container);
            Remedy::new(
                When::Now,
                format!("restart container {} with the tool that runs it: it {effect}", printable(&id)),
            )
        }
        (None, Some(unit)) => Remedy::new(When::Now, format!("restart {}: it {effect}", printable(unit)))
            .with(unit_argument(unit).map(|unit| format!("systemctl restart {unit}"))),
        (None, None) => Remedy::new(
            When::Now,
            format!("end {} (kill -TERM {}) and start it again: it {effect}", scene.who(process), known.key.pid),
        ),
    }
}

/// Destroy the CLOSE-WAIT sockets to the destination in the kernel: their ports come back, their descriptors do not.
pub(super) fn destroy_close_wait(scene: &Scene<'_>, netns: NetNsIndex, destination: &Endpoint) -> Remedy {
    let destination = destination.to_string();
    let command = format!("ss -tK state close-wait dst {}", shell_word(&destination));
    Remedy::new(
        When::Now,
        format!(
            "without a restart: destroy every CLOSE-WAIT to {destination}, of all programs; it frees ports that the kernel \
             chose, but no descriptors (needs CAP_NET_ADMIN and CONFIG_INET_DIAG_DESTROY)"
        ),
    )
    .with(scene.typed_in(netns, command))
}

/// Raise the limit of descriptors of one process.
pub(super) fn raise_descriptors(scene: &Scene<'_>, process: ProcessIndex) -> Remedy {
    let known = scene.process(process);
    let doubled = known.and_then(descriptors_doubled);
    let unit = known.and_then(|known| known.placement.as_ref()).and_then(|placement| placement.unit.as_deref());
    let lasting = match unit.filter(|unit| is_service(unit)) {
        Some(unit) => format!("LimitNOFILE= in {} makes it last", printable(unit)),
        None => "the program's own start-up makes it last".to_owned(),
    };
    let text = format!("raise the limit of the running process (needs CAP_SYS_RESOURCE); {lasting}");
    let command = known.zip(doubled).map(|(known, limit)| format!("prlimit --pid {} --nofile={limit}", known.key.pid));
    Remedy::new(When::Soon, text).with(command)
}

/// Twice the limit, as long as `fs.nr_open` allows it by default (1,048,576; proc_sys_fs(5)).
fn descriptors_doubled(process: &Process) -> Option<u64> {
    process.fds_limit?.checked_mul(2).filter(|limit| *limit <= 1_048_576)
}

/// Keep the ports of listeners out of the range: `ports` join those that are reserved already, since the setting replaces the
/// whole list.
pub(super) fn reserve_ports(scene: &Scene<'_>, netns: NetNsIndex, ports: &[u16]) -> Remedy {
    let text = format!(
        "keep connect() off {}: reserve {} (now, and in /etc/sysctl.d to make it last)",
        if ports.len() == 1 { "this port" } else { "these ports" },
        list(ports, PORTS_NAMED)
    );
    let reserved = scene.namespace(netns).and_then(|namespace| namespace.ports.reserved.as_ref());
    let command = reserved.and_then(|reserved| {
        let all: PortSet = reserved.iter().chain(ports.iter().copied()).collect();
        let spans = port_spans(&all);
        (spans.len() <= LONGEST_PORT_LIST).then(|| format!("sysctl -w net.ipv4.ip_local_reserved_ports={spans}"))
    });
    Remedy::new(When::Soon, text).with(command.and_then(|command| scene.typed_in(netns, command)))
}

/// Widen the range. The command is offered when no listener stands where the range would grow.
pub(super) fn wider_range(scene: &Scene<'_>, netns: NetNsIndex) -> Option<Remedy> {
    let range = scene.range(netns)?;
    let wide = "16384 65535";
    if range.span() >= 49_152 {
        return None;
    }
    let in_the_way: Vec<u16> = scene.ports_in_the_way(netns).into_iter().filter(|port| *port >= 16_384).collect();
    let now = format!("the range is {} to {} now", range.first, range.last);
    if in_the_way.is_empty() {
        let command = format!("sysctl -w net.ipv4.ip_local_port_range=\"{wide}\"");
        let text = format!("widen the range to 16384 to 65535 ({now}); it buys time");
        return Some(Remedy::new(When::Soon, text).with(scene.typed_in(netns, command)));
    }
    let text = format!(
        "widen the range to 16384 to 65535 ({now}), after reserving the {} that {} listened on there: {}",
        if in_the_way.len() == 1 { "port" } else { "ports" },
        if in_the_way.len() == 1 { "is" } else { "are" },
        list(&in_the_way, PORTS_NAMED)
    );
    Some(Remedy::new(When::Soon, text))
}

/// Why a wider range is no cure, and whom it would hurt.
pub(super) fn wider_range_only_delays(scene: &Scene<'_>, netns: NetNsIndex) -> String {
    let in_the_way = scene.ports_in_the_way(netns);
    if in_the_way.is_empty() {
        return "a wider port range only delays it".to_owned();
    }
    let n = in_the_way.len() as u64;
    format!(
        "a wider port range only delays it, and {} in the way: {}",
        if n == 1 { "1 listener is".to_owned() } else { format!("{} listeners are", count(n)) },
        list(&in_the_way, PORTS_NAMED)
    )
}

/// What people try against CLOSE-WAIT.
pub(super) fn no_cure_for_close_wait() -> Vec<String> {
    vec![
        "tcp_fin_timeout and tcp_tw_reuse do not touch CLOSE-WAIT: they concern FIN-WAIT-2 and TIME-WAIT".to_owned(),
        "keepalive does not close these sockets: once the peer is gone, each becomes a descriptor without a socket"
            .to_owned(),
    ]
}

/// ` and 3 more destinations`, or nothing.
pub(super) fn and_more(others: usize, one: &str, many: &str) -> String {
    match others {
        0 => String::new(),
        others => format!(" and {}", counted(others as u64, &format!("more {one}"), &format!("more {many}"))),
    }
}

/// Whether the unit is a service that can be restarted by itself: a scope cannot, and the service of a user's manager would
/// take the user's whole session with it.
fn is_service(unit: &str) -> bool {
    unit.ends_with(".service") && !unit.starts_with("user@")
}

/// The unit as an argument of `systemctl`, which expands patterns: a name with other characters than those of a plain unit
/// name, or one that reads as an option, gets no command.
fn unit_argument(unit: &str) -> Option<Cow<'_, str>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.@".contains(c);
    (!unit.starts_with('-') && unit.chars().all(plain)).then(|| shell_word(unit))
}

/// The ports as the kernel writes them: `3306,33060-33062`.
fn port_spans(ports: &PortSet) -> String {
    let mut spans: Vec<(u16, u16)> = Vec::new();
    for port in ports.iter() {
        match spans.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(port) => *last = port,
            _ => spans.push((port, port)),
        }
    }
    let words = spans.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::Script;

    #[test]
    fn a_service_is_restarted_by_its_unit_and_a_hostile_unit_gets_no_command() {
        let mut script = Script::new();
        let good = script.process("telegraf", 1234);
        script.unit(good, "telegraf.service");
        let remedy = restart(&script.scene(), good, RELIEF);
        assert_eq!(remedy.command.as_deref(), Some("systemctl restart telegraf.service"));
        for hostile in ["*.service", "-H evil.service", "--force.service", "a\u{1b}[31m.service", "a b.service"] {
            script.unit(good, hostile);
            let remedy = restart(&script.scene(), good, RELIEF);
            assert_eq!(remedy.command, None, "{hostile:?}");
            assert!(!remedy.text.contains('\u{1b}'));
        }
        for not_alone in ["user@1000.service", "session-3.scope", "init.scope"] {
            script.unit(good, not_alone);
            let remedy = restart(&script.scene(), good, RELIEF);
            assert_eq!(remedy.command, None, "{not_alone}");
            assert!(remedy.text.contains("kill -TERM 1234"), "{}", remedy.text);
        }
    }

    #[test]
    fn a_container_is_restarted_by_its_own_tool() {
        let mut script = Script::new();
        let process = script.process("java", 7);
        script.unit(process, "docker.service");
        script.container(process, &"ab12".repeat(16));
        let remedy = restart(&script.scene(), process, RELIEF);
        assert!(
            remedy.text.starts_with("restart container ab12ab12ab12 with the tool that runs it"),
            "{}",
            remedy.text
        );
        assert_eq!(remedy.command, None);
    }

    #[test]
    fn reserving_keeps_what_is_reserved_and_never_guesses_it() {
        let mut script = Script::new();
        script.namespace().ports.reserved = Some([40_000, 40_001, 50_000].into_iter().collect());
        let command = reserve_ports(&script.scene(), NetNsIndex(0), &[33_060, 40_002]).command;
        assert_eq!(command.as_deref(), Some("sysctl -w net.ipv4.ip_local_reserved_ports=33060,40000-40002,50000"));
        script.namespace().ports.reserved = None;
        assert_eq!(reserve_ports(&script.scene(), NetNsIndex(0), &[33_060]).command, None);
    }

    #[test]
    fn a_command_for_another_namespace_enters_it_or_is_not_offered() {
        let mut script = Script::new();
        let process = script.process("app", 77);
        script.namespace().id.name = "pid 77".to_owned();
        let destination = "[::1]:80".parse::<std::net::SocketAddr>().expect("an address");
        let destination = Endpoint::new(destination.ip(), destination.port());
        let command = destroy_close_wait(&script.scene(), NetNsIndex(0), &destination).command;
        assert_eq!(command, None);
        script.snapshot.processes[process.0 as usize].netns = script.namespace().id.inode;
        let command = destroy_close_wait(&script.scene(), NetNsIndex(0), &destination).command;
        assert_eq!(command.as_deref(), Some("nsenter -t 77 -n ss -tK state close-wait dst '[::1]:80'"));
    }

    #[test]
    fn a_wider_range_names_the_listeners_it_would_run_into() {
        let mut script = Script::new();
        let command = wider_range(&script.scene(), NetNsIndex(0)).expect("room to grow").command;
        assert_eq!(command.as_deref(), Some("sysctl -w net.ipv4.ip_local_port_range=\"16384 65535\""));
        let process = script.process("mysqld", 5);
        script.listener(process, 3306);
        script.listener(process, 27_017);
        script.listener(process, 443);
        let remedy = wider_range(&script.scene(), NetNsIndex(0)).expect("room to grow");
        assert!(remedy.command.is_none() && remedy.text.contains("listened on there: 27017"), "{}", remedy.text);
        let sentence = wider_range_only_delays(&script.scene(), NetNsIndex(0));
        assert_eq!(sentence, "a wider port range only delays it, and 2 listeners are in the way: 3306, 27017");
    }
}
