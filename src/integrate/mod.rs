//! Ready-made configuration for what runs `closewatch check`: schedulers and monitoring systems.
//!
//! Pure: the text is made of the path of the program and of the policy's own defaults. A test hands every command line in it
//! to the program's own parser.

mod cron;
mod nagios;
mod prometheus;
mod systemd;
mod telegraf;
mod zabbix;

pub use self::zabbix::Edition;

/// What configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A file for `/etc/cron.d`.
    Cron,
    /// A service and its timer; of both, or of one.
    Systemd(Option<Unit>),
    /// A command and a service of Nagios, Icinga and Naemon.
    Nagios,
    /// Rules of Prometheus.
    PrometheusRules,
    /// An input of Telegraf.
    Telegraf,
    /// A key of the agent of Zabbix.
    ZabbixAgent,
    /// A template of the server of Zabbix.
    ZabbixTemplate(Edition),
}

/// A unit of systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// What is run.
    Service,
    /// When it is run.
    Timer,
}

/// The configuration, as text. `program` is the absolute path of the program.
#[must_use]
pub fn configuration(target: Target, program: &str) -> String {
    match target {
        Target::Cron => cron::file(program),
        Target::Systemd(Some(Unit::Service)) => systemd::service(program),
        Target::Systemd(Some(Unit::Timer)) => systemd::timer(),
        Target::Systemd(None) => systemd::both(program),
        Target::Nagios => nagios::objects(program),
        Target::PrometheusRules => prometheus::rules(),
        Target::Telegraf => telegraf::input(program),
        Target::ZabbixAgent => zabbix::agent(program),
        Target::ZabbixTemplate(edition) => zabbix::template(edition),
    }
}
