//! What cannot be made in seconds, or not on every machine: a report of it is told to the server in place of a look, and values
//! of the last hour are put into its database. A report is one of the program in which some numbers are changed.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::host::{AVERAGE, HIGH, Host, INFO, WARNING};
use crate::stack::Stack;
use crate::support::player::Player;
use crate::support::{closewatch, text};
use crate::world::{POOL, World, options};

/// A report, and the file that the agent reads.
struct Report {
    document: Value,
    file: PathBuf,
}

impl Report {
    /// Of a look while this is played.
    fn of(world: &World, role: &str, until: impl Fn(&Value) -> bool) -> Self {
        let player = Player::start(role, |_| ());
        let file = world.stack.dir().join("zabbix.json");
        let mut document = Value::Null;
        crate::support::wait_until("a look that sees it", || {
            let mut command = closewatch();
            command.args(["check", "--format", "zabbix"]).args(options(&world.policy)).arg("--output").arg(&file);
            let output = command.output().expect("closewatch starts");
            assert_eq!(text(&output.stderr), "");
            document = serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON");
            until(&document)
        });
        drop(player);
        Self { document, file }
    }

    /// Tells it with these numbers, of the document or of the first row of a list.
    fn tell(&self, numbers: &[(&str, Value)]) {
        let mut told = self.document.clone();
        for (pointer, number) in numbers {
            *told.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}: {:#}", self.document)) = number.clone();
        }
        // It is read at any moment.
        let part = self.file.with_extension("part");
        fs::write(&part, told.to_string()).expect("written");
        fs::rename(&part, &self.file).expect("renamed");
    }
}

/// Values of the last hour that an item has in place of its own, one a minute: the last is of now.
struct Past<'a> {
    key: String,
    /// Where the server keeps values of its kind.
    table: &'a str,
    /// The value so many minutes ago.
    value: fn(u32) -> f64,
}

impl Past<'_> {
    fn statements(&self, stack: &Stack, host: &Host) -> String {
        let items = host.items(stack);
        let id = items[&self.key]["itemid"].as_str().expect("an identity");
        let now = "extract(epoch from now())::int";
        let row = |minutes: u32| format!("({id}, {now} - {}, {}, 0)", minutes * 60, (self.value)(minutes));
        let rows: Vec<String> = (0..=61).map(row).collect();
        let table = self.table;
        format!(
            "delete from {table} where itemid = {id}; insert into {table} (itemid, clock, value, ns) values {};",
            rows.join(", ")
        )
    }
}

fn remember(world: &mut World, pasts: &[Past<'_>]) {
    let statements: Vec<String> = pasts.iter().map(|past| past.statements(&world.stack, &world.host)).collect();
    world.stack.change_database(&statements.concat());
}

/// Tells of what cannot be made here. Ends with a report of nothing.
pub(crate) fn what_cannot_be_made(world: &mut World) {
    let report = Report::of(world, "leak 300", |document| {
        document["processes"][0]["stuck"] == 300 && document["pools"][0]["name"] == POOL
    });
    let nothing = [
        ("/metrics/stuck", json!(0)),
        ("/states/close_wait", json!(0)),
        ("/processes", json!([])),
        ("/pools", json!([])),
        ("/metrics/eta", Value::Null),
    ];
    report.tell(&nothing);
    world.ask_the_file(&report.file);
    world.host.looks(&world.stack, 4);
    let with = |more: &[(&'static str, Value)]| [nothing.to_vec(), more.to_vec()].concat();

    // The leaks of a moment ago would be blamed for some of it.
    world.host.set(&world.stack, "STUCK.MAX.WARN", "1000");
    world.host.set(&world.stack, "COVERAGE.MIN", "50");
    report.tell(&with(&[
        ("/metrics/conntrack", json!(0.95)),
        ("/metrics/eta", json!(3_600)),
        ("/metrics/coverage", json!(0.3)),
        ("/partial", json!(true)),
    ]));
    world.host.has(
        &world.stack,
        &[
            (HIGH, &["The connection tracking table fills up: 95 % used"]),
            (HIGH, &["A limit is near (critical): 1h left"]),
            (INFO, &["Holders of sockets are hidden: 30 % are known"]),
            (INFO, &["The look is cut short"]),
        ],
    );
    report.tell(&with(&[
        ("/metrics/conntrack", json!(0.8)),
        ("/metrics/eta", json!(2 * 86_400)),
        ("/metrics/coverage", json!(0.6)),
        ("/partial", json!(false)),
    ]));
    world.host.has(
        &world.stack,
        &[
            (AVERAGE, &["The connection tracking table fills up: 80 % used"]),
            (AVERAGE, &["A limit is near (warning): 2d left"]),
        ],
    );
    report.tell(
        &[nothing.to_vec(), vec![("/metrics/conntrack", json!(0)), ("/metrics/eta", json!(30 * 86_400))]].concat(),
    );
    world.host.has(&world.stack, &[]);
    world.host.unset(&world.stack, "STUCK.MAX.WARN");
    // What a leak has brought near is no problem beside it, nor when it is mended and no report has said since how near it is.
    report.tell(&with(&[("/metrics/stuck", json!(300)), ("/metrics/eta", json!(3_600))]));
    world.host.keeps(&world.stack, &[]);
    report.tell(&nothing);
    world.host.keeps(&world.stack, &[]);
    report.tell(&with(&[("/taken_at", json!(1_700_000_000))]));
    world.host.has(&world.stack, &[(WARNING, &["There has been no report for a while: 10m"])]);
    report.tell(&nothing);
    world.host.has(&world.stack, &[]);
    grows(world, &report, &nothing);
}

/// What is told by an hour of the past.
fn grows(world: &mut World, report: &Report, nothing: &[(&str, Value)]) {
    world.host.set(&world.stack, "STUCK.MAX.WARN", "1000");
    world.host.unset(&world.stack, "TIMELEFT.MIN");
    // 300 sockets that are in use, and 500 that the peer has closed of programs that are not seen.
    let pools = [
        ("/metrics/stuck", json!(0)),
        ("/states/close_wait", json!(500)),
        ("/metrics/eta", json!(30 * 86_400)),
        ("/processes", json!([])),
        ("/pools/0/ratio", json!(0.6)),
        ("/pools/0/close_wait_ratio", json!(0.1)),
    ];
    report.tell(&pools);
    let floor = Past {
        key: "closewatch.state[close_wait]".to_owned(),
        table: "history_uint",
        value: |ago| if ago > 45 { 10.0 } else { 500.0 },
    };
    let to_the_wall = |key: String| Past { key, table: "history", value: |ago| 60.0 - f64::from(ago) * 0.9 };
    remember(world, &[floor, to_the_wall(format!("closewatch.pool.ratio[\"{POOL}\"]"))]);
    world.host.has(
        &world.stack,
        &[
            (WARNING, &["CLOSE-WAIT grows and no process is known to leak: 500 sockets"]),
            (HIGH, &["Ports from ", POOL, " run out: 300 used, 60 % of all"]),
        ],
    );
    report.tell(nothing);
    world.host.has(&world.stack, &[]);

    world.host.unset(&world.stack, "STUCK.MAX.WARN");
    // A leak that leaves less than an hour.
    report.tell(&[("/processes/0/ports_ratio", json!(0.6))]);
    let name = report.document["processes"][0]["name"].as_str().expect("a name");
    remember(world, &[to_the_wall(format!("closewatch.process.ports[\"{name}\"]"))]);
    world.host.has(&world.stack, &[(HIGH, &["leaks TCP sockets: ", "holds 300 sockets to "])]);
    report.tell(nothing);
    world.host.has(&world.stack, &[]);
}
