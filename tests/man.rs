//! The manual page says what the program takes: it is made from the program's own definitions and compared with
//! `man/closewatch.1`. `UPDATE_MAN=1 cargo test --test man` writes it anew.

use std::path::PathBuf;

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

const EXIT_STATUS: [(&str, &str); 6] = [
    (
        "0",
        "A report was printed, whatever its verdict; or the command did what it was asked; or a probe was confirmed.",
    ),
    (
        "2",
        "A probe ran, and not everything was seen that had to be; or exec --fail-on-leak saw a leak. Of the other commands only check uses 2.",
    ),
    (
        "other",
        "exec passes on the status of its command: 128 and the number of the signal for one that a signal ended.",
    ),
    (
        "3",
        "It could not look, could not write, or did not understand what was typed: one line and a hint on standard \
         error, nothing on standard output.",
    ),
    (
        "check: 0, 1, 2, 3",
        "OK, WARNING, CRITICAL, UNKNOWN. UNKNOWN is also what could not be looked at or understood, --help and --version, \
         and a look that --timeout cut short, unless what was seen is worse. Without --json and --format table, standard \
         output says why, too. With --format influx, 0 whenever something was printed, since Telegraf drops what a failing \
         command printed; with --format zabbix, what went wrong is a document on standard output, too, and nothing is ever \
         written to standard error; with --format prometheus and --output, the file then says closewatch_up 0.",
    ),
    ("doctor: 1", "Something is hidden from this user."),
];

const EXAMPLES: [(&str, &str); 15] = [
    (
        "closewatch probe drill --isolated",
        "Make a real leak in a namespace of its own, and confirm that check sees it.",
    ),
    ("closewatch exec --fail-on-leak -- go test ./...", "Fail a test suite that leaks sockets."),
    ("closewatch", "Triage of this host: the verdict and what to do first, then the numbers."),
    ("closewatch --unit telegraf.service -v", "Everything about the sockets of one unit."),
    ("closewatch --peer 10.0.3.7:8086 --state close-wait", "Who holds closed connections to one destination."),
    ("closewatch --netns 4711", "The namespace that process 4711 lives in: a container, for example."),
    ("closewatch --netns current", "Only the namespace that closewatch itself runs in: no search for others."),
    (
        "closewatch --json --output /var/lib/closewatch/report.json",
        "A report for machines, in a file that is there whole or not at all.",
    ),
    (
        "closewatch --json | jq '.port_pools[0] | {destination, remaining}'",
        "The destination that runs out of ports first.",
    ),
    (
        "closewatch check -w ports=60%,stuck=@10: -c ports=85%,stuck=@500:",
        "For a monitoring system: a warning above 60 % of the ports to any destination and from 10 stuck sockets on.",
    ),
    (
        "closewatch history --since 7d",
        "What grew in the last week, as checks remember it, and when it meets its limit; -v draws every number.",
    ),
    (
        "closewatch history --from /srv/recordings --format csv --output month.csv",
        "The same of a folder of recordings, for a spreadsheet: a row for each number of each look.",
    ),
    (
        "closewatch integrate systemd --unit timer > /etc/systemd/system/closewatch.timer",
        "When systemd runs the check.",
    ),
    (
        "closewatch check --format prometheus --output /var/lib/prometheus/node-exporter/closewatch.prom",
        "Numbers for the textfile collector of the node exporter; integrate prometheus-rules prints alerts on them.",
    ),
    ("closewatch integrate zabbix-template > closewatch.yaml", "A template to be imported into Zabbix 6.0 or later."),
];

const FILES: [(&str, &str); 5] = [
    (
        "/var/lib/closewatch/history.db, ~/.local/state/closewatch/history.db",
        "What checks remember: an SQLite file of 16 MiB at most. One that is damaged is set aside beside it, under a name with \
         the date.",
    ),
    (
        "/proc/net/tcp, /proc/net/tcp6",
        "Read instead of netlink when netlink is refused; the report says what that loses.",
    ),
    (
        "/proc/PID/fd, /proc/PID/stat, /proc/PID/cgroup",
        "Who holds a socket, since when the process runs, and its unit and container.",
    ),
    ("/proc/sys/net/ipv4/ip_local_port_range, ip_local_reserved_ports", "The ports that connect() draws from."),
    (
        "/proc/PID/ns/net, /proc/PID/task/TID/ns/net, /proc/PID/mountinfo, /run/netns",
        "Where network namespaces are looked for, beside the descriptors of all processes. A namespace that may not be \
         entered is read through /proc/PID/net/tcp of a process in it.",
    ),
];

const NOTES: [&str; 6] = [
    "closewatch runs as any user. Other users' processes are named only with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; \
     to enter other network namespaces needs CAP_SYS_ADMIN, --exact CAP_NET_ADMIN. What is not seen is named under \
     COVERAGE. A socket whose process is hidden is told by its user and by the unit or container in whose cgroup it was \
     made, where cgroup2 is mounted; it stays there when the process moves on or hands it to another one.",
    "A network namespace is called by the first of these names that it has: init, that of `ip netns`, current (where \
     closewatch runs), its Kubernetes pod, its container, the systemd service in it, a process in it. A namespace that \
     nothing but open sockets keeps, without a process, a mount or a descriptor of it, cannot be found.",
    "Nothing that is observed is changed.",
    "history prints all times in UTC. Its CSV has a row for each number of each look, or hour of looks: the least, the \
     greatest and the last of it, which are the same of a single look. What is not known is empty, and a name that a \
     spreadsheet would take for a formula begins with an apostrophe.",
    "Colour is used when standard output is a terminal, TERM is not dumb and NO_COLOR is unset or empty. No state is \
     told by colour alone.",
    "On a terminal, tables leave out the columns that do not fit; a pipe or a file gets all columns, unless COLUMNS \
     says how wide they may be.",
];

fn page() -> String {
    let mut command = closewatch::cli::args::command();
    command.build();
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text).expect("memory takes it");
    man.render_name_section(&mut text).expect("memory takes it");
    let mut roff = Roff::new();
    synopsis(&mut roff);
    roff.to_writer(&mut text).expect("memory takes it");
    man.render_description_section(&mut text).expect("memory takes it");
    let mut roff = Roff::new();
    commands(&mut roff, &command);
    roff.to_writer(&mut text).expect("memory takes it");
    man.render_options_section(&mut text).expect("memory takes it");
    let mut roff = Roff::new();
    list(&mut roff, "EXIT STATUS", &EXIT_STATUS);
    list(&mut roff, "EXAMPLES", &EXAMPLES);
    list(&mut roff, "FILES", &FILES);
    roff.control("SH", ["NOTES"]);
    for (nth, note) in NOTES.iter().enumerate() {
        if nth > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*note)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(see_also(&[("ss", "8"), ("tcp", "7"), ("sock_diag", "7"), ("proc_pid_net", "5")]));
    roff.to_writer(&mut text).expect("memory takes it");
    once(&String::from_utf8(text).expect("the page is UTF-8"))
}

/// Every part that is written begins with the same definition of the apostrophe: the page needs it once.
fn once(page: &str) -> String {
    let definition: String = page.split_inclusive('\n').take(2).collect();
    let body = page.replace(&definition, "");
    let lines: Vec<&str> = body.lines().map(str::trim_end).collect();
    format!("{definition}{}\n", lines.join("\n"))
}

fn synopsis(roff: &mut Roff) {
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("closewatch"), roman(" ["), bold("report"), roman("] ["), italic("OPTIONS"), roman("]")]);
    roff.control("br", []);
    roff.text([bold("closewatch check"), roman(" ["), italic("OPTIONS"), roman("]")]);
    roff.control("br", []);
    roff.text([bold("closewatch history"), roman(" ["), italic("OPTIONS"), roman("]")]);
    roff.control("br", []);
    roff.text([
        bold("closewatch integrate"),
        roman(" "),
        italic("TARGET"),
        roman(" [--unit "),
        italic("UNIT"),
        roman("] [--zabbix "),
        italic("VERSION"),
        roman("]"),
    ]);
    roff.control("br", []);
    roff.text([bold("closewatch record"), roman(" ["), italic("OPTIONS"), roman("] "), italic("FILE")]);
    roff.control("br", []);
    roff.text([bold("closewatch probe"), roman(" "), italic("PROBE"), roman(" ["), italic("OPTIONS"), roman("]")]);
    roff.control("br", []);
    roff.text([
        bold("closewatch exec"),
        roman(" ["),
        italic("OPTIONS"),
        roman("] "),
        bold("--"),
        roman(" "),
        italic("COMMAND"),
        roman("..."),
    ]);
    roff.control("br", []);
    roff.text([bold("closewatch doctor")]);
    roff.control("br", []);
    roff.text([bold("closewatch explain"), roman(" ["), italic("TOPIC"), roman("]")]);
    roff.control("br", []);
    roff.text([bold("closewatch completions"), roman(" "), italic("SHELL")]);
}

/// The options that only this command has, and which of the program's it shares.
fn own_options(roff: &mut Roff, sub: &clap::Command, program: &clap::Command) {
    let is_shared = |arg: &&clap::Arg| {
        let same = |other: &clap::Arg| other.get_id() == arg.get_id() && other.get_help() == arg.get_help();
        program.get_arguments().any(same)
    };
    let long = |arg: &clap::Arg| format!("--{}", arg.get_long().unwrap_or_default());
    let options: Vec<&clap::Arg> = sub
        .get_arguments()
        .filter(|arg| arg.get_long().is_some_and(|long| !["help", "version"].contains(&long)))
        .collect();
    let (shared, own): (Vec<_>, Vec<_>) = options.into_iter().partition(is_shared);
    if own.is_empty() {
        return;
    }
    let short = |arg: &clap::Arg| arg.get_short().map(|short| [bold(format!("-{short}")), roman(", ")]);
    roff.control("RS", []);
    for arg in own {
        let mut head: Vec<Inline> = short(arg).into_iter().flatten().collect();
        head.push(bold(long(arg)));
        for value in arg.get_value_names().filter(|_| arg.get_action().takes_values()).unwrap_or_default() {
            head.extend([roman(" "), italic(value.to_string())]);
        }
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        roff.control("TP", []);
        roff.text(head);
        roff.text([roman(sentences(&help))]);
    }
    if shared.is_empty() {
        roff.control("RE", []);
        return;
    }
    roff.control("PP", []);
    let shared: Vec<String> = shared.into_iter().map(long).collect();
    roff.text([roman(format!("The options {} are those of report.", shared.join(", ")))]);
    roff.control("RE", []);
}

/// The paragraphs of a help text in one, each ended.
fn sentences(help: &str) -> String {
    let paragraphs = help.split("\n\n").map(|text| format!("{}.", text.trim_end_matches('.')));
    paragraphs.collect::<Vec<_>>().join(" ")
}

/// The commands with their own arguments. Those of `report` are the options of the program, and listed there.
fn commands(roff: &mut Roff, command: &clap::Command) {
    roff.control("SH", ["COMMANDS"]);
    let subs = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    let with_their_own = subs.flat_map(|sub| {
        let own = sub.get_subcommands().filter(|own| own.get_name() != "help");
        std::iter::once((sub.get_name().to_owned(), sub))
            .chain(own.map(move |own| (format!("{} {}", sub.get_name(), own.get_name()), own)))
    });
    for (name, sub) in with_their_own {
        let mut head = vec![bold(&name)];
        for arg in sub.get_positionals() {
            head.push(roman(" "));
            head.push(italic(arg.get_id().as_str().to_uppercase()));
        }
        if sub.get_name() == "report" {
            head.extend([roman(" ["), italic("OPTIONS"), roman("]")]);
        }
        let about = sub.get_long_about().or(sub.get_about()).map(ToString::to_string).unwrap_or_default();
        let mut body = sentences(&about);
        for arg in sub.get_positionals() {
            let values: Vec<String> =
                arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let text = if values.is_empty() { help } else { values.join(", ") };
            body.push_str(&format!(" {}: {text}.", arg.get_id().as_str().to_uppercase()));
        }
        roff.control("TP", []);
        roff.text(head);
        roff.text([roman(body)]);
        if sub.get_name() != "report" {
            own_options(roff, sub, command);
        }
    }
}

fn list(roff: &mut Roff, title: &str, items: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, text) in items {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*text)]);
    }
}

fn see_also(pages: &[(&str, &str)]) -> Vec<Inline> {
    let mut line = Vec::new();
    for (nth, (name, section)) in pages.iter().enumerate() {
        let comma = if nth > 0 { ", " } else { "" };
        line.extend([roman(comma), bold(*name), roman(format!("({section})"))]);
    }
    line
}

#[test]
fn the_manual_page_is_that_of_this_program() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("man/closewatch.1");
    let made = page();
    if std::env::var_os("UPDATE_MAN").is_some() {
        std::fs::write(&path, &made).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(kept == made, "man/closewatch.1 is stale: `UPDATE_MAN=1 cargo test --test man` writes it anew\n{made}");
}
