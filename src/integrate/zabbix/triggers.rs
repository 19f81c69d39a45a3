//! When there is a problem. One leak is one problem: that of the process. What is a consequence of it, ports that run out and a
//! CLOSE-WAIT count that grows, is a problem of its own only where no process is blamed.

use super::Edition;
use super::items::tag;
use super::macros::{COVERAGE, GROWTH, NODATA, TIME_LEFT, threshold, threshold_of};
use super::uuid::uuid;
use super::yaml::Node;
use crate::diagnosis::finding::Severity;

/// How bad a problem is, in the words of Zabbix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    Info,
    Warning,
    Average,
    High,
}

/// A trigger, or the prototype of one.
#[derive(Debug, Clone)]
pub(super) struct Trigger {
    /// Its name, which says what it is about and has no number.
    name: String,
    /// The name of a problem, with its numbers.
    event_name: String,
    expression: String,
    /// When the problem is over; empty for when the expression is false.
    recovery: String,
    priority: Priority,
    /// What it is about.
    scope: &'static str,
    description: &'static str,
    /// What makes this one needless: the expressions and names of worse ones.
    worse: Vec<(String, String, String)>,
}

impl Trigger {
    /// As an import takes it.
    pub(super) fn node(&self, what: &str) -> Node {
        let dependency = |(name, expression, recovery): &(String, String, String)| {
            Node::map([
                ("name", name.as_str().into()),
                ("expression", expression.as_str().into()),
                ("recovery_expression", optional(recovery)),
            ])
        };
        let priority = match self.priority {
            Priority::Info => "INFO",
            Priority::Warning => "WARNING",
            Priority::Average => "AVERAGE",
            Priority::High => "HIGH",
        };
        let has_recovery = !self.recovery.is_empty();
        Node::map([
            ("uuid", uuid(what, &self.name).into()),
            ("expression", self.expression.as_str().into()),
            ("recovery_mode", if has_recovery { "RECOVERY_EXPRESSION".into() } else { Node::none() }),
            ("recovery_expression", optional(&self.recovery)),
            ("name", self.name.as_str().into()),
            ("event_name", optional(&self.event_name)),
            ("priority", priority.into()),
            ("description", self.description.into()),
            ("manual_close", "YES".into()),
            ("dependencies", self.worse.iter().map(dependency).collect::<Vec<_>>().into()),
            ("tags", vec![tag("scope", self.scope)].into()),
        ])
    }

    /// One that is over when its expression is false. `told` is what a problem says beside the name.
    fn plain(name: &str, told: &str, expression: String, (priority, scope): (Priority, &'static str)) -> Self {
        let name = format!("Closewatch: {name}");
        let event_name = if told.is_empty() { String::new() } else { format!("{name}: {told}") };
        Self {
            name,
            event_name,
            expression,
            recovery: String::new(),
            priority,
            scope,
            description: "",
            worse: Vec::new(),
        }
    }

    /// The same with a description.
    fn because(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// The same, needless while the worse one has a problem.
    fn unless(mut self, worse: &Self) -> Self {
        self.worse.push((worse.name.clone(), worse.expression.clone(), worse.recovery.clone()));
        self
    }
}

fn optional(text: &str) -> Node {
    if text.is_empty() { Node::none() } else { text.into() }
}

/// Writes expressions: the values of the items of the template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    edition: Edition,
}

impl Words {
    /// For this edition.
    pub(super) fn of(edition: Edition) -> Self {
        Self { edition }
    }

    /// `min(/Closewatch by Zabbix agent/closewatch.stuck,#3)`.
    fn value(self, function: &str, key: &str, rest: &str) -> String {
        format!("{function}(/{}/closewatch.{key}{rest})", self.edition.template())
    }

    /// The last three values are all at least so much: one look may be a chance.
    fn stays_at(self, key: &str, least: &str) -> String {
        format!("{}>={least}", self.value("min", key, ",#3"))
    }

    /// The last three values are all less.
    fn stays_below(self, key: &str, least: &str) -> String {
        format!("{}<{least}", self.value("max", key, ",#3"))
    }

    /// Two triggers on a number that may be too much, the warning needless while it is critical.
    fn levels(self, metric: &'static str, key: &str, plan: &Plan) -> [Trigger; 2] {
        let mut made = [Severity::Critical, Severity::Warning].map(|severity| {
            let least = match plan.of {
                Some(name) => threshold_of(metric, severity, name),
                None => threshold(metric, severity),
            };
            let (level, priority) = match severity {
                Severity::Critical => ("critical", Priority::High),
                _ => ("warning", Priority::Average),
            };
            let guard = if plan.guard.is_empty() { String::new() } else { format!(" and {}", plan.guard) };
            Trigger {
                name: format!("Closewatch: {} ({level})", plan.name),
                event_name: format!("Closewatch: {}: {}", plan.name, plan.told),
                expression: format!("{}{guard}", self.stays_at(key, &least)),
                recovery: self.stays_below(key, &least),
                priority,
                scope: "capacity",
                description: plan.description,
                worse: Vec::new(),
            }
        });
        made[1] = made[1].clone().unless(&made[0]);
        made
    }
}

/// What the two triggers of a number have in common.
struct Plan {
    /// What is wrong.
    name: String,
    /// What a problem says of it beside.
    told: &'static str,
    /// The name of the one of many that it is about.
    of: Option<&'static str>,
    /// What must hold beside.
    guard: String,
    description: &'static str,
}

/// The triggers of the host.
pub(super) fn of_host(edition: Edition) -> Vec<Trigger> {
    let words = Words::of(edition);
    let mut triggers = of_the_report(words);
    triggers.extend(of_growth(words));
    triggers.extend(words.levels(
        "conntrack",
        "conntrack",
        &Plan {
            name: "The connection tracking table fills up".to_owned(),
            told: "{ITEM.LASTVALUE1} used",
            of: None,
            guard: String::new(),
            description: "When it is full the kernel drops the first packet of every new connection.",
        },
    ));
    triggers
}

/// What is wrong with the report itself.
fn of_the_report(words: Words) -> Vec<Trigger> {
    let error = Trigger::plain(
        "There is no report",
        "{ITEM.LASTVALUE1}",
        format!("length({})>0", words.value("last", "error", "")),
        (Priority::Average, "availability"),
    )
    .because(
        "The agent has no report, or closewatch could not make one. `closewatch doctor`, as the user of the agent, tells more.",
    );
    // The second is for a report that is read from a file. Of an item without values fuzzytime() is unknown, and so would be all.
    let period = format!(",{NODATA}");
    let old = format!(
        "{}=1 or ({}=0 and {}=0)",
        words.value("nodata", "error", &period),
        words.value("nodata", "taken_at", &period),
        words.value("fuzzytime", "taken_at", &period)
    );
    let silent = Trigger::plain(
        "There has been no report for a while",
        NODATA,
        old,
        (Priority::Warning, "availability"),
    )
    .because(
        "The agent does not answer, the item of the report is disabled, or the job that writes the report to a file \
                 does not run.",
    )
    .unless(&error);
    let partial = Trigger::plain(
        "The look is cut short",
        "",
        format!("{}=1", words.value("min", "partial", ",#5")),
        (Priority::Info, "notice"),
    )
    .because(
        "Counts are what was seen until the time limit, and processes are missing: the host is busy, or has very many sockets.",
    );
    let hidden = Trigger::plain(
        "Holders of sockets are hidden",
        "{ITEM.LASTVALUE1} are known",
        format!("{}<{COVERAGE}", words.value("max", "coverage", ",#3")),
        (Priority::Info, "notice"),
    )
    .because(
        "The agent may not see the processes of other users: `closewatch doctor` prints the line that would show them.",
    );
    vec![error, silent, partial, hidden]
}

/// What grows, where no process is blamed: a leak is told by the trigger of the process.
fn of_growth(words: Words) -> [Trigger; 3] {
    // When a leak is mended, what it did to the other numbers is still in their last values.
    let stuck = words.value("max", "stuck", &format!(",{NODATA}"));
    let unblamed = format!("{stuck}<{}", threshold("stuck", Severity::Warning));
    let floor = words.value("min", "state[close_wait]", ",10m");
    let before = words.value("min", "state[close_wait]", ",10m:now-50m");
    let growth = Trigger::plain(
        "CLOSE-WAIT grows and no process is known to leak",
        "{ITEM.LASTVALUE1} sockets",
        format!("{floor}-{before}>{GROWTH} and {unblamed}"),
        (Priority::Warning, "capacity"),
    )
    .because("The least of ten minutes has risen: what comes and goes does not raise it.");
    let near = |severity, level: &str, priority| {
        // A limit that is no longer near has no value: the last one says nothing then.
        let known = format!("{}=0", words.value("nodata", "eta", &format!(",{NODATA}")));
        let soon = format!("{}<{}", words.value("last", "eta", ""), threshold("eta", severity));
        let name = format!("A limit is near ({level})");
        let told = "{ITEM.LASTVALUE1} left";
        Trigger::plain(&name, told, format!("{soon} and {known} and {unblamed}"), (priority, "capacity"))
            .because("At the growth that the history of closewatch shows. The headline says which limit.")
    };
    let critical = near(Severity::Critical, "critical", Priority::High);
    let warning = near(Severity::Warning, "warning", Priority::Average).unless(&critical);
    [growth, critical, warning]
}

/// The prototypes of a process.
pub(super) fn of_process(edition: Edition) -> Vec<Trigger> {
    const NAME: &str = "{#NAME}";
    let words = Words::of(edition);
    let key = |number: &str| format!("process.{number}[\"{NAME}\"]");
    let [critical, warning] = [Severity::Critical, Severity::Warning].map(|level| threshold_of("stuck", level, NAME));
    let [full, filling] = [Severity::Critical, Severity::Warning].map(|level| threshold("ports", level));
    // It is always true, and makes the story the first item of the trigger.
    let story = format!("length({})>=0", words.value("last", &key("story"), ""));
    let ports = words.value("last", &key("ports"), "");
    let time_left = words.value("timeleft", &key("ports"), ",1h,100");
    let leaks = words.stays_at(&key("stuck"), &warning);
    let many = words.stays_at(&key("stuck"), &critical);
    let over = words.stays_below(&key("stuck"), &warning);
    let leak = |level: &str, expression: String, priority| Trigger {
        name: format!("Closewatch: {NAME} leaks TCP sockets ({level})"),
        event_name: format!("Closewatch: {NAME} leaks TCP sockets: {{ITEM.LASTVALUE1}}"),
        expression,
        recovery: over.clone(),
        priority,
        scope: "capacity",
        description: "The peer has closed these connections and the program does not: each holds a port and a descriptor until \
                      the program ends. The problem says where to and what to do. It is critical when they are many, or when \
                      the ports that it uses are nearly gone.",
        worse: Vec::new(),
    };
    let worst = leak(
        "critical",
        format!(
            "{story} and ({many} or ({leaks} and ({ports}>={full} or ({ports}>{filling} and {time_left}<{TIME_LEFT}))))"
        ),
        Priority::High,
    );
    let bad = leak("warning", format!("{story} and {leaks}"), Priority::Average).unless(&worst);
    let fds = Plan {
        name: format!("{NAME} comes near its limit of descriptors"),
        told: "{ITEM.LASTVALUE1} used",
        of: Some(NAME),
        guard: String::new(),
        description: "At the limit socket(), accept() and open() fail.",
    };
    let ghosts = Plan {
        name: format!("{NAME} holds descriptors of connections that are over"),
        told: "{ITEM.LASTVALUE1} of them",
        description: "A reset ended these connections, and the program does not close them: each holds a descriptor.",
        of: Some(NAME),
        guard: String::new(),
    };
    let mut triggers = vec![worst.clone(), bad.clone()];
    for plan in [("fds", fds), ("ghosts", ghosts)] {
        let made = words.levels(plan.0, &key(plan.0), &plan.1);
        triggers.extend(made.map(|trigger| trigger.unless(&worst).unless(&bad)));
    }
    triggers
}

/// The prototypes of a port pool.
pub(super) fn of_pool(edition: Edition) -> Vec<Trigger> {
    const NAME: &str = "{#NAME}";
    let words = Words::of(edition);
    let key = |number: &str| format!("pool.{number}[\"{NAME}\"]");
    let [full, filling] = [Severity::Critical, Severity::Warning].map(|level| threshold_of("ports", level, NAME));
    let used = words.value("last", &key("used"), "");
    // Numbers of one report reach a trigger one after the other: one that is gone must not make the rest look like a problem.
    let in_use = format!("{}<50", words.value("max", &key("close_wait"), ",#3"));
    let time_left = words.value("timeleft", &key("ratio"), ",1h,100");
    let trigger = |level: &str, expression: String, recovery: String, priority| Trigger {
        name: format!("Closewatch: Ports from {NAME} run out ({level})"),
        event_name: format!(
            "Closewatch: Ports from {NAME} run out: {{ITEM.LASTVALUE1}} used, {{ITEM.LASTVALUE2}} of all"
        ),
        expression,
        recovery,
        priority,
        scope: "capacity",
        description: "When none is left, connect() to this destination fails with EADDRNOTAVAIL. Ports that a leak holds are \
                      told of the process that leaks them.",
        worse: Vec::new(),
    };
    let worst = trigger(
        "critical",
        format!(
            "{used}>0 and ({} or ({} and {time_left}<{TIME_LEFT})) and {in_use}",
            words.stays_at(&key("ratio"), &full),
            words.stays_at(&key("ratio"), &filling)
        ),
        words.stays_below(&key("ratio"), &filling),
        Priority::High,
    );
    let bad = trigger(
        "warning",
        format!("{used}>0 and {} and {in_use}", words.stays_at(&key("ratio"), &filling)),
        words.stays_below(&key("ratio"), &filling),
        Priority::Average,
    );
    vec![worst.clone(), bad.unless(&worst)]
}

/// The prototypes of a listener.
pub(super) fn of_listener(edition: Edition) -> Vec<Trigger> {
    const NAME: &str = "{#NAME}";
    let words = Words::of(edition);
    let waiting = words.value("last", &format!("listener.waiting[\"{NAME}\"]"), "");
    let plan = Plan {
        name: format!("The accept queue of {NAME} fills up"),
        told: "{ITEM.LASTVALUE1} used, {ITEM.LASTVALUE2} wait",
        of: Some(NAME),
        // Fewer than 8 are no queue: those of a rarely used listener with a backlog of 1 are often full.
        guard: format!("{waiting}>=8"),
        description: "The program does not accept fast enough, or has stopped. When it is full the kernel drops finished \
                      handshakes.",
    };
    words.levels("accept", &format!("listener.ratio[\"{NAME}\"]"), &plan).to_vec()
}
