//! The small languages of the option values: durations, ports, addresses, states. Pure.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::args::{IntegrateArgs, TargetArg, UnitArg, ZabbixArg};
use super::usage::{UsageError, closest};
use crate::capture::NetNsChoice;
use crate::integrate::{Edition, Target, Unit};
use crate::model::ports::{EphemeralRange, NamedPortRange};
use crate::model::selection::EndpointFilter;
use crate::model::state::{StateMask, TcpState};
use crate::model::tuple::Network;
use crate::render::explain::Topic;

/// The largest pid that Linux gives (`PID_MAX_LIMIT`, kernel `include/linux/threads.h`).
const MAX_PID: u32 = 4 * 1024 * 1024;

/// Names of port ranges that the census gives itself.
const BUILT_IN_RANGES: [&str; 3] = ["system", "ephemeral", "user"];

/// Reads `90`, `90s`, `5m`, `2h`, `1d`, `1w` or `500ms`; a bare number counts seconds.
pub(super) fn parse_duration(option: &str, text: &str) -> Result<Duration, UsageError> {
    let refuse = || {
        UsageError::new(
            format!("{option}: `{text}` is not a duration"),
            "write a whole number and a unit: 500ms, 90s, 5m, 2h, 1d; a number alone counts seconds",
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let seconds_each = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(refuse()),
    };
    number.checked_mul(seconds_each).map(Duration::from_secs).ok_or_else(refuse)
}

/// Since when something is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long before the moment that is told of.
    Ago(Duration),
    /// Since this moment.
    At(SystemTime),
}

/// Reads `3d`, `2026-02-14`, `2026-02-14T06:00` or `2026-02-14T06:00:00Z`; what names no offset is UTC.
pub(super) fn parse_since(text: &str) -> Result<Since, UsageError> {
    if let Ok(ago) = parse_duration("--since", text) {
        return Ok(Since::Ago(ago));
    }
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|moment| moment.timestamp());
    let moment = text.parse::<Timestamp>().ok().or_else(civil);
    moment.map(|moment| Since::At(moment.into())).ok_or_else(|| {
        UsageError::new(
            format!("--since: `{text}` is neither a duration nor a moment"),
            "write how long ago (90s, 12h, 3d), or a moment in UTC: 2026-02-14, 2026-02-14T06:00",
        )
    })
}

/// Reads which namespaces to look at: `all`, `current`, a pid, or a name. A number that no pid can have is an inode, which
/// is a name.
pub(super) fn parse_netns(text: &str) -> Result<NetNsChoice, UsageError> {
    match text {
        "all" => Ok(NetNsChoice::All),
        "current" => Ok(NetNsChoice::Current),
        "" => Err(UsageError::new(
            "--netns: an empty name names no namespace",
            "use `--netns all`, `--netns current`, `--netns PID`, or the name of a namespace",
        )),
        "0" => parse_pid("--netns", text).map(NetNsChoice::Pid),
        name => Ok(match parse_pid("--netns", name) {
            Ok(pid) => NetNsChoice::Pid(pid),
            Err(_) => NetNsChoice::Name(name.to_owned()),
        }),
    }
}

/// Reads a process id.
pub(super) fn parse_pid(option: &str, text: &str) -> Result<u32, UsageError> {
    text.parse().ok().filter(|pid| (1..=MAX_PID).contains(pid)).ok_or_else(|| {
        UsageError::new(
            format!("{option}: `{text}` is not a process id"),
            format!("process ids are numbers from 1 to {MAX_PID}; a name goes to --process"),
        )
    })
}

/// Reads how many ports a NAT has for one destination.
pub(super) fn parse_snat_limit(text: &str) -> Result<u32, UsageError> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
        UsageError::new(
            format!("--snat-limit: `{text}` is not a number of ports"),
            "write what the NAT has for one destination, as a whole number: 1024, 55000, 64512",
        )
    })
}

/// Reads the states of all `--state` options; `None` when there are none, which lets every state through.
pub(super) fn parse_states(texts: &[String]) -> Result<Option<StateMask>, UsageError> {
    let mut mask: Option<StateMask> = None;
    for text in texts {
        let state = TcpState::parse(text).ok_or_else(|| unknown_state(text))?;
        let one = StateMask::of(state);
        mask = Some(mask.map_or(one, |mask| mask.with(one)));
    }
    Ok(mask)
}

/// Reads a topic of `explain`.
pub(super) fn parse_topic(text: &str) -> Result<Topic, UsageError> {
    Topic::parse(text).ok_or_else(|| {
        let names: Vec<String> = Topic::all().map(|(name, _)| name).collect();
        let list = "`closewatch explain` lists the topics";
        let hint = match closest(&text.replace('_', "-"), names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`? {list}"),
            None => list.to_owned(),
        };
        UsageError::new(format!("there is no topic `{text}`"), hint)
    })
}

/// Reads what configuration is asked for.
pub(super) fn read_target(args: &IntegrateArgs) -> Result<Target, UsageError> {
    let unit = args.unit.map(|unit| match unit {
        UnitArg::Service => Unit::Service,
        UnitArg::Timer => Unit::Timer,
    });
    if unit.is_some() && args.target != TargetArg::Systemd {
        return Err(UsageError::new("--unit: only systemd has units", "closewatch integrate systemd --unit timer"));
    }
    if args.zabbix.is_some() && args.target != TargetArg::ZabbixTemplate {
        let hint = "closewatch integrate zabbix-template --zabbix 7.0";
        return Err(UsageError::new("--zabbix: only a template has a version", hint));
    }
    Ok(match args.target {
        TargetArg::Cron => Target::Cron,
        TargetArg::Systemd => Target::Systemd(unit),
        TargetArg::Nagios => Target::Nagios,
        TargetArg::PrometheusRules => Target::PrometheusRules,
        TargetArg::Telegraf => Target::Telegraf,
        TargetArg::ZabbixAgent => Target::ZabbixAgent,
        TargetArg::ZabbixTemplate => Target::ZabbixTemplate(match args.zabbix {
            None | Some(ZabbixArg::Six) => Edition::Six,
            Some(ZabbixArg::Seven) => Edition::Seven,
        }),
    })
}

fn unknown_state(text: &str) -> UsageError {
    let spellings = TcpState::ALL.map(|state| state.token().replace('_', "-"));
    let all = spellings.join(" ");
    let plain = text.replace('_', "-");
    let hint = match closest(&plain, spellings.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`? The states are: {all}"),
        None => format!("the states are: {all}"),
    };
    UsageError::new(format!("--state: there is no TCP state `{text}`"), hint)
}

/// Reads one operator's port range: `NAME=FIRST-LAST`, or `NAME=PORT`.
pub(super) fn parse_port_range(text: &str) -> Result<NamedPortRange, UsageError> {
    const OPTION: &str = "--port-range";
    let Some((name, ports)) = text.split_once('=') else {
        return Err(UsageError::new(
            format!("{OPTION}: `{text}` has no `=`"),
            "write a name and its ports: --port-range backends=8000-8999",
        ));
    };
    let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(named) {
        return Err(UsageError::new(
            format!("{OPTION}: `{name}` cannot name a range"),
            "names are made of letters, digits, `-`, `_` and `.`",
        ));
    }
    if BUILT_IN_RANGES.iter().any(|built_in| built_in.eq_ignore_ascii_case(name)) {
        return Err(UsageError::new(
            format!("{OPTION}: `{name}` is a range that is always counted"),
            "system, ephemeral and user are built in: choose another name",
        ));
    }
    let ports = parse_ports(OPTION, ports)?;
    Ok(NamedPortRange { name: name.to_owned(), first: *ports.start(), last: *ports.end() })
}

/// Reads the ephemeral port range: `32768-60999`.
pub(super) fn parse_ephemeral_range(text: &str) -> Result<EphemeralRange, UsageError> {
    parse_port_range_of("--ephemeral-range", text)
}

/// Reads a range of ports that a namespace hands out.
pub(super) fn parse_port_range_of(option: &str, text: &str) -> Result<EphemeralRange, UsageError> {
    let ports = parse_ports(option, text)?;
    // The kernel refuses such settings, too (`ipv4_local_port_range`, kernel net/ipv4/sysctl_net_ipv4.c).
    if !text.contains('-') || *ports.start() == 0 {
        return Err(UsageError::new(
            format!("{option}: `{text}` is not a range of ports to hand out"),
            "write both numbers of `sysctl net.ipv4.ip_local_port_range`: 32768-60999",
        ));
    }
    Ok(EphemeralRange { first: *ports.start(), last: *ports.end() })
}

/// Reads `443` or `8000-8999`.
fn parse_ports(option: &str, text: &str) -> Result<RangeInclusive<u16>, UsageError> {
    let port = |text: &str| {
        text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(|| {
            UsageError::new(
                format!("{option}: `{text}` is not a port"),
                "ports are numbers from 0 to 65535; a range is written 8000-8999",
            )
        })
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(UsageError::new(
            format!("{option}: the range {first}-{last} is empty"),
            format!("write the lower port first: {last}-{first}"),
        ));
    }
    Ok(first..=last)
}

/// One value of `--local` or `--peer`.
#[derive(Debug, PartialEq, Eq)]
struct EndpointTerm {
    network: Option<Network>,
    ports: Option<RangeInclusive<u16>>,
}

/// Reads all values of `--local` or of `--peer`.
///
/// The filter holds addresses and ports apart, so that only lists of one kind mean the same in it as they do to the
/// reader: `10.0.0.1:80,10.0.0.2:443` would let 10.0.0.1:443 through, and is refused.
pub(super) fn parse_endpoints(option: &str, texts: &[String]) -> Result<EndpointFilter, UsageError> {
    let terms = texts.iter().map(|text| parse_endpoint(option, text)).collect::<Result<Vec<_>, _>>()?;
    let mut filter = EndpointFilter::default();
    for term in &terms {
        if let Some(network) = term.network.filter(|network| !filter.networks.contains(network)) {
            filter.networks.push(network);
        }
        if let Some(ports) = term.ports.as_ref().filter(|ports| !filter.ports.contains(ports)) {
            filter.ports.push(ports.clone());
        }
    }
    let alike = terms.iter().all(|term| {
        term.network.is_none() == filter.networks.is_empty() && term.ports.is_none() == filter.ports.is_empty()
    });
    let apart = filter.networks.len() <= 1 || filter.ports.len() <= 1;
    if alike && apart {
        return Ok(filter);
    }
    Err(UsageError::new(
        format!("{option}: `{}` mixes addresses and ports in one list", texts.join(",")),
        format!("list only addresses or only ports, or name both at once: {option} 10.0.0.0/8:443"),
    ))
}

fn parse_endpoint(option: &str, text: &str) -> Result<EndpointTerm, UsageError> {
    let only_ports = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if only_ports {
        return Ok(EndpointTerm { network: None, ports: Some(parse_ports(option, text)?) });
    }
    let (address, ports) = split_endpoint(text);
    let ports = ports.map(|ports| parse_ports(option, ports)).transpose()?;
    let network = if address.is_empty() && ports.is_some() { None } else { Some(parse_network(option, address)?) };
    Ok(EndpointTerm { network, ports })
}

/// Parts `10.0.0.0/8:443`, `[::1]:80`, `[2001:db8::/32]:80`, `[2001:db8::]/32:80` or `2001:db8::/32` at the colon before
/// the ports. An IPv6 address without brackets has no ports.
fn split_endpoint(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.rsplit_once("]:") {
            Some((address, ports)) => (address, Some(ports)),
            None => match text.rsplit_once(':') {
                Some((address, ports)) if address.contains("]/") => (address, Some(ports)),
                _ => (text, None),
            },
        };
    }
    match text.split_once(':') {
        Some((address, ports)) if !ports.contains(':') => (address, Some(ports)),
        _ => (text, None),
    }
}

fn parse_network(option: &str, text: &str) -> Result<Network, UsageError> {
    let refuse = || {
        UsageError::new(
            format!("{option}: `{text}` is neither an address nor a port"),
            "write 10.0.0.5, 10.0.0.0/8, 2001:db8::/32, 443, 8000-8999, 10.0.0.5:443 or [2001:db8::1]:443",
        )
    };
    let plain = text.replace(['[', ']'], "");
    let (address, prefix) = match plain.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (plain.as_str(), None),
    };
    let address: IpAddr = address.parse().map_err(|_| refuse())?;
    let Some(prefix) = prefix else {
        return Ok(Network::host(address));
    };
    let longest = if address.to_canonical().is_ipv4() { 32 } else { 128 };
    prefix.parse().ok().and_then(|prefix| Network::new(address, prefix)).ok_or_else(|| {
        UsageError::new(
            format!("{option}: `{text}`: the prefix /{prefix} does not fit the address"),
            format!("a prefix of this address is a number from 0 to {longest}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(text: &str) -> Result<EndpointFilter, UsageError> {
        let texts: Vec<String> = text.split(',').map(str::to_owned).collect();
        parse_endpoints("--peer", &texts)
    }

    fn shape(text: &str) -> (Vec<String>, Vec<RangeInclusive<u16>>) {
        let filter = endpoints(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (filter.networks.iter().map(ToString::to_string).collect(), filter.ports)
    }

    #[test]
    fn durations_are_read_and_nonsense_is_not() {
        let read = |text| parse_duration("--stuck-after", text).map_err(|error| error.message);
        assert_eq!(read("90"), Ok(Duration::from_secs(90)));
        assert_eq!(read("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(read("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(read("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(read("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "s", "-1", "1.5h", "5 m", "1y", "99999999999999999999", "18446744073709551615w"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endpoints_are_read_in_every_spelling() {
        let none: Vec<String> = Vec::new();
        assert_eq!(shape("443"), (none.clone(), vec![443..=443]));
        assert_eq!(shape(":443"), (none.clone(), vec![443..=443]));
        assert_eq!(shape("8000-8999,443"), (none, vec![8000..=8999, 443..=443]));
        assert_eq!(shape("10.0.0.5"), (vec!["10.0.0.5/32".into()], vec![]));
        assert_eq!(shape("10.0.0.0/8:80-90"), (vec!["10.0.0.0/8".into()], vec![80..=90]));
        assert_eq!(shape("2001:db8::/32,::1"), (vec!["2001:db8::/32".into(), "::1/128".into()], vec![]));
        for both in ["[2001:db8::/32]:443", "[2001:db8::]/32:443"] {
            assert_eq!(shape(both), (vec!["2001:db8::/32".into()], vec![443..=443]));
        }
        assert_eq!(shape("[::1]"), (vec!["::1/128".into()], vec![]));
        assert_eq!(shape("::ffff:10.0.0.1"), (vec!["10.0.0.1/32".into()], vec![]));
        assert_eq!(shape("10.0.0.1:80,10.0.0.2:80").0.len(), 2);
    }

    #[test]
    fn lists_that_the_filter_would_misread_are_refused() {
        for mixed in ["10.0.0.0/8,443", "10.0.0.1:80,10.0.0.2:443", "10.0.0.1:80,443", "10.0.0.1,10.0.0.2:443"] {
            let error = endpoints(mixed).expect_err(mixed);
            assert!(error.message.contains("mixes addresses and ports"), "{error:?}");
        }
    }

    #[test]
    fn impossible_endpoints_are_refused() {
        for (wrong, what) in [
            ("10.0.0.0/33", "/33 does not fit"),
            ("::/129", "/129 does not fit"),
            ("10.0.0.0/", "/ does not fit"),
            ("70000", "`70000` is not a port"),
            ("10.0.0.1:70000", "`70000` is not a port"),
            ("9000-8000", "9000-8000 is empty"),
            ("443-", "`` is not a port"),
            ("10.0.0.1:", "`` is not a port"),
            ("localhost", "neither an address nor a port"),
            ("", "neither an address nor a port"),
            ("10.0.0.256", "neither an address nor a port"),
        ] {
            let error = endpoints(wrong).expect_err(wrong);
            assert!(error.message.contains(what), "{wrong}: {error:?}");
        }
    }

    #[test]
    fn a_moment_is_read_in_utc_unless_it_says_otherwise() {
        let at = |seconds| Ok(Since::At(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(parse_since("3d"), Ok(Since::Ago(Duration::from_secs(3 * 86_400))));
        assert_eq!(parse_since("2026-01-05"), at(1_767_571_200));
        assert_eq!(parse_since("2026-01-05 06:00"), at(1_767_571_200 + 6 * 3600));
        assert_eq!(parse_since("2026-01-05T06:00:30Z"), at(1_767_571_200 + 6 * 3600 + 30));
        assert_eq!(parse_since("2026-01-05T06:00:00+02:00"), at(1_767_571_200 + 4 * 3600));
        for wrong in ["", "yesterday", "2026-13-01", "5y", "-3d"] {
            assert!(parse_since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn states_are_read_as_people_type_them() {
        let mask = parse_states(&["close-wait".into(), "ESTAB".into()]).expect("states").expect("some");
        assert!(mask.has(TcpState::CloseWait) && mask.has(TcpState::Established) && !mask.has(TcpState::Listen));
        assert_eq!(parse_states(&[]), Ok(None));
        let error = parse_states(&["closewait".into()]).expect_err("no such state");
        assert!(error.hint.starts_with("did you mean `close-wait`?"), "{error:?}");
    }

    #[test]
    fn ranges_need_a_free_name_and_ports_in_order() {
        let range = parse_port_range("backends=8000-8999").expect("a range");
        assert_eq!((range.name.as_str(), range.first, range.last), ("backends", 8000, 8999));
        for wrong in ["backends", "=1-2", "a b=1-2", "system=1-2", "User=1-2", "x=2-1", "x=1-70000", "x=", "x=-5"] {
            assert!(parse_port_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn namespaces_are_all_or_one_by_pid_or_name() {
        assert_eq!(parse_netns("all"), Ok(NetNsChoice::All));
        assert_eq!(parse_netns("current"), Ok(NetNsChoice::Current));
        assert_eq!(parse_netns("1234"), Ok(NetNsChoice::Pid(1234)));
        for name in ["blue", "4026532281", "4c01db0b339c", "pod 1a2b3c4d"] {
            assert_eq!(parse_netns(name), Ok(NetNsChoice::Name(name.to_owned())));
        }
        for wrong in ["", "0"] {
            assert!(parse_netns(wrong).is_err(), "{wrong}");
        }
    }
}
