//! Rules of Prometheus: what is computed of the metrics, and when it is an alert. The thresholds are those of `closewatch check`.

use crate::diagnosis::finding::Severity;
use crate::diagnosis::policy::{Place, Policy};

/// An alert.
struct Alert {
    name: &'static str,
    expression: String,
    /// For how long it must hold.
    lasting: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// The file of rules.
pub(super) fn rules() -> String {
    let mut out = "\
# A file of rule_files. The metrics come from closewatch by the textfile collector of the node exporter. In
# /etc/cron.d/closewatch-prometheus, with the directory that the exporter was told:
#   * * * * *  root  closewatch check --format prometheus --output /var/lib/prometheus/node-exporter/closewatch.prom
# Test: promtool check rules FILE
groups:
  - name: closewatch.record
    rules:
      - record: closewatch:ephemeral_ports:ratio
        expr: closewatch_ephemeral_ports_used / closewatch_ephemeral_ports_limit
      - record: closewatch:close_wait_sockets:min15m
        expr: min_over_time(closewatch_tcp_sockets{state=\"close_wait\"}[15m])
  - name: closewatch.alert
    rules:
"
    .to_owned();
    for alert in alerts() {
        out.push_str(&written(&alert));
    }
    out
}

fn written(alert: &Alert) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    format!(
        "      - alert: {}\n        expr: {}\n        for: {}\n        labels:\n          severity: {}\n        annotations:\n          \
         summary: {}\n          description: {}\n",
        alert.name,
        quoted(&alert.expression),
        alert.lasting,
        alert.severity,
        quoted(alert.summary),
        quoted(alert.description)
    )
}

/// The default threshold of a metric.
fn threshold(metric: &str, severity: Severity) -> f64 {
    let mut policy = Policy::default();
    let levels = Policy::entry(metric).and_then(|entry| match entry.place {
        Place::Levels(levels) => Some(*levels(&mut policy)),
        Place::Age(_) => None,
    });
    levels.and_then(|levels| levels.of(severity)).unwrap_or(f64::INFINITY)
}

fn alerts() -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (severity, label) in [(Severity::Critical, "critical"), (Severity::Warning, "warning")] {
        let from = |metric: &str| threshold(metric, severity);
        let leak = "closewatch_close_wait_stuck_sockets";
        // What is worse is told once, as the worse.
        let below = |expression: &str, metric: &str| match severity {
            Severity::Critical => String::new(),
            _ => format!(" and {expression} < {}", threshold(metric, Severity::Critical)),
        };
        alerts.push(Alert {
            name: "ClosewatchLeak",
            expression: format!("{leak} >= {}{}", from("stuck"), below(leak, "stuck")),
            lasting: "3m",
            severity: label,
            summary: "{{ $labels.owner }} on {{ $labels.instance }} leaks TCP sockets: {{ $value }} stuck in CLOSE-WAIT",
            description: "The peer has closed and the program does not. Restart it to free ports and descriptors; mend it to end \
                          the leak. `closewatch` on the host says where to and what to do.",
        });
        let share = "closewatch_owner_fds_used_ratio";
        alerts.push(Alert {
            name: "ClosewatchDescriptors",
            expression: format!("{share} >= {}{}", from("fds"), below(share, "fds")),
            lasting: "3m",
            severity: label,
            summary: "{{ $labels.owner }} on {{ $labels.instance }} has {{ $value | humanizePercentage }} of its descriptors open",
            description: "At the limit socket(), accept() and open() fail.",
        });
        let table = "closewatch_conntrack_used_ratio";
        alerts.push(Alert {
            name: "ClosewatchConntrack",
            expression: format!("{table} >= {}{}", from("conntrack"), below(table, "conntrack")),
            lasting: "3m",
            severity: label,
            summary: "The connection tracking table of {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
            description: "When it is full the kernel drops the first packet of every new connection.",
        });
        let queue = "closewatch_accept_queue_used_ratio";
        alerts.push(Alert {
            name: "ClosewatchAcceptQueue",
            expression: format!("{queue} >= {}{}", from("accept"), below(queue, "accept")),
            lasting: "3m",
            severity: label,
            summary: "An accept queue on {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
            description: "The program does not accept fast enough, or has stopped.",
        });
    }
    alerts.extend(of_ports());
    alerts.extend(of_the_look());
    alerts
}

fn of_ports() -> [Alert; 3] {
    let [critical, warning] = [Severity::Critical, Severity::Warning].map(|severity| threshold("ports", severity));
    let share = "closewatch:ephemeral_ports:ratio";
    let soon = "predict_linear(closewatch_ephemeral_ports_used[30m], 3600) > closewatch_ephemeral_ports_limit";
    let description = "When no port is left to a destination, connect() to it fails with EADDRNOTAVAIL. `closewatch` on the host \
                       says which destination, who holds the ports and what to do.";
    [
        Alert {
            name: "ClosewatchPorts",
            // Full already, or more than half and full within an hour at the growth of the last half.
            expression: format!("{share} >= {critical} or ({share} > {warning} and {soon})"),
            lasting: "3m",
            severity: "critical",
            summary: "Ports on {{ $labels.instance }} run out in {{ $labels.netns }}",
            description,
        },
        Alert {
            name: "ClosewatchPorts",
            expression: format!("{share} >= {warning} and {share} < {critical} unless {soon}"),
            lasting: "3m",
            severity: "warning",
            summary: "{{ $value | humanizePercentage }} of the ports to a destination are used on {{ $labels.instance }}",
            description,
        },
        Alert {
            name: "ClosewatchCloseWaitGrows",
            expression: "closewatch:close_wait_sockets:min15m > 100 and \
                         deriv(closewatch_tcp_sockets{state=\"close_wait\"}[30m]) > 0 and on(instance) closewatch_stuck_sockets < 10"
                .to_owned(),
            lasting: "10m",
            severity: "warning",
            summary: "CLOSE-WAIT grows on {{ $labels.instance }}, and no process is known to leak",
            description: "The least of a quarter of an hour rises: what comes and goes does not raise it.",
        },
    ]
}

fn of_the_look() -> [Alert; 1] {
    [Alert {
        name: "ClosewatchDown",
        expression: "closewatch_up == 0 or time() - closewatch_last_success_timestamp_seconds > 600 or \
                     (node_textfile_scrape_error == 1 and on(instance) closewatch_up)"
            .to_owned(),
        lasting: "5m",
        severity: "warning",
        summary: "closewatch on {{ $labels.instance }} does not look",
        description: "Its job does not run, or cannot look: run it by hand on the host.",
    }]
}
