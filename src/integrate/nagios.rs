//! Objects of Nagios, which Icinga 1 and Naemon read too.

use crate::diagnosis::finding::{Severity, Unit};
use crate::diagnosis::metrics::{METRICS, MetricEntry, Worse};
use crate::diagnosis::policy::{Levels, Place, Policy, PolicyEntry};
use crate::model::text::shell_word;

/// A command, and a service that runs it with the defaults.
pub(super) fn objects(program: &str) -> String {
    let program = shell_word(program).replace('$', "$$");
    let (warning, critical) = (ranges(Severity::Warning), ranges(Severity::Critical));
    format!(
        "\
# A file below the cfg_dir of Nagios, Naemon or Icinga 1. On another host than this one, run the command there, by NRPE or
# check_by_ssh. The checking user sees all counts; to name the processes of other users, too, the program needs capabilities:
#   setcap cap_sys_ptrace,cap_dac_read_search,cap_sys_admin+ep {program}
# What it does not see it tells, and stays OK; to be UNKNOWN then, add coverage=90%: to the warning ranges.

define command {{
    command_name            check_closewatch
    command_line            {program} check --timeout 10 --warning $ARG1$ --critical $ARG2$
}}

# The ranges are the defaults: `@50%:` alerts from 50 % on. `closewatch explain policy` tells why.
define service {{
    use                     generic-service
    host_name               localhost
    service_description     TCP sockets
    check_command           check_closewatch!{warning}!{critical}
    check_interval          5
    retry_interval          1
    max_check_attempts      3
}}
"
    )
}

/// What every host has an answer to: how much is used, of what any user may count.
fn ranges(severity: Severity) -> String {
    const ASKED: [&str; 2] = ["ports", "stuck"];
    let asked = METRICS.iter().filter(|entry| entry.worse == Worse::More && ASKED.contains(&entry.name));
    asked.filter_map(|entry| range(entry, severity)).collect::<Vec<_>>().join(",")
}

/// `ports=@50%:`.
fn range(metric: &MetricEntry, severity: Severity) -> Option<String> {
    let Some(PolicyEntry { place: Place::Levels(levels), .. }) = Policy::entry(metric.name) else { return None };
    let mut policy = Policy::default();
    let Levels { warning, critical, .. } = *levels(&mut policy);
    let range = if severity == Severity::Critical { critical? } else { warning? };
    let from = range.upper_edge()?;
    let text = match metric.unit {
        Unit::Ratio => format!("@{}%:", from * 100.0),
        _ => format!("@{from}:"),
    };
    Some(format!("{}={text}", metric.name))
}
