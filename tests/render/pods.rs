//! A host of containers: several namespaces, connections of which both ends are there, and a NAT in front of it all. Unlike
//! the other stories it is counted and judged by the program itself.

use std::time::Duration;

use closewatch::model::past::Past;
use closewatch::model::ports::EphemeralRange;
use closewatch::model::process::{Holding, Placement, Process, ProcessIndex, ProcessKey, Runtime};
use closewatch::model::snapshot::NetNs;
use closewatch::model::socket::{Clocks, Inode, NetNsIndex, PortBinding, Queues, SocketKind, SocketRecord, Timer};
use closewatch::model::state::TcpState::{self, CloseWait, Established, FinWait2, Listen, TimeWait};
use closewatch::model::tuple::{Family, FourTuple};
use closewatch::report;

use crate::builder::{Story, empty_host, endpoint};

const INIT: u32 = 0;
const WEB: u32 = 1;
const DATABASE: u32 = 2;
const BATCH: u32 = 3;

const WEB_APP: &str = "10.1.0.5";
const POSTGRES: &str = "10.1.0.9:5432";
/// On another host.
const API: &str = "203.0.113.7:443";

/// The host, read with `--snat-limit 1024`.
pub(crate) fn pods() -> Story {
    let mut story = empty_host();
    story.query.snat_limit = Some(1024);
    name_namespaces(&mut story);
    let host = &mut Host { story };
    let [app, postgres] = [host.process("web-app", 4100, WEB, "web"), host.process("postgres", 4200, DATABASE, "db")];
    let [job, proxy] = [host.process("job", 5200, BATCH, "batch"), host.process("proxy", 811, INIT, "proxy")];
    host.socket(DATABASE, Listen, ["0.0.0.0:5432", "0.0.0.0:0"], Some(postgres));
    host.socket(INIT, Listen, ["127.0.0.1:8080", "0.0.0.0:0"], Some(proxy));
    // The database has closed idle sessions; the application has not noticed.
    for nth in 0..60 {
        let client = format!("{WEB_APP}:{}", 40_000 + nth);
        host.socket(WEB, CloseWait, [&client, POSTGRES], Some(app));
        if nth < 40 {
            host.socket(DATABASE, FinWait2, [POSTGRES, &client], None);
        }
    }
    // The proxy forgets its clients, one of which has only shut its side down.
    for nth in 0..3 {
        let client = format!("127.0.0.1:{}", 50_000 + nth);
        host.socket(INIT, CloseWait, ["127.0.0.1:8080", &client], Some(proxy));
        host.socket(INIT, FinWait2, [&client, "127.0.0.1:8080"], (nth == 0).then_some(proxy));
    }
    // Containers with the same addresses.
    for netns in [WEB, BATCH] {
        host.socket(netns, CloseWait, ["172.17.0.2:41000", "172.17.0.9:80"], None);
    }
    host.socket(DATABASE, FinWait2, ["172.17.0.9:80", "172.17.0.2:41000"], None);
    // Two namespaces behind one address of the NAT.
    for nth in 0..700 {
        host.socket(WEB, Established, [&format!("{WEB_APP}:{}", 41_000 + nth), API], Some(app));
    }
    for nth in 0..200 {
        let state = if nth < 50 { TimeWait } else { Established };
        host.socket(BATCH, state, [&format!("10.1.0.7:{}", 20_000 + nth), API], (state == Established).then_some(job));
    }
    judged(std::mem::replace(&mut host.story, empty_host()))
}

fn name_namespaces(story: &mut Story) {
    let first = story.snapshot.namespaces[0].clone();
    for (nth, name) in [(1, "web-7d9f4"), (2, "db-0"), (3, "batch"), (4, "cni-5e1c")] {
        let mut namespace = first.clone();
        namespace.id = NetNs {
            inode: Some(4_026_532_000 + nth),
            name: name.into(),
            container: None,
            runtime: None,
            pod: None,
            unit: None,
        };
        story.snapshot.namespaces.push(namespace);
    }
    story.snapshot.namespaces[BATCH as usize].ports.range = Some(EphemeralRange { first: 20_000, last: 20_399 });
}

/// The story with what the program makes of its snapshot.
fn judged(mut story: Story) -> Story {
    let policy = closewatch::diagnosis::policy::Policy::default();
    let past = Past::default();
    let report = report::build(&story.snapshot, &story.query, &past, &policy);
    let (census, findings, headline) = (report.census, report.findings, report.headline);
    (story.census, story.findings, story.headline) = (census, findings, headline);
    story
}

struct Host {
    story: Story,
}

impl Host {
    fn process(&mut self, name: &str, pid: u32, netns: u32, unit: &str) -> ProcessIndex {
        let snapshot = &mut self.story.snapshot;
        snapshot.processes.push(Process {
            key: ProcessKey { pid, start_ticks: u64::from(pid) },
            name: name.into(),
            started_at: None,
            exe: None,
            uid: Some(1000),
            user: None,
            placement: Some(Placement {
                unit: Some(format!("{unit}.service")),
                container: None,
                runtime: None,
                pod: None,
            }),
            netns: snapshot.namespaces[netns as usize].id.inode,
            fds_open: Some(820),
            fds_limit: Some(65_536),
            runtime: Runtime::Java,
        });
        ProcessIndex(snapshot.processes.len() as u32 - 1)
    }

    fn socket(&mut self, netns: u32, state: TcpState, [local, remote]: [&str; 2], holder: Option<ProcessIndex>) {
        let snapshot = &mut self.story.snapshot;
        let inode = holder.map(|_| Inode::new(1_000 + snapshot.sockets.len() as u64).expect("not 0"));
        if let (Some(inode), Some(process)) = (inode, holder) {
            snapshot.holdings.push(Holding { inode, process, fd: 5 });
        }
        let four_hours_ago = Duration::from_secs(4 * 3600).as_millis() as u32;
        let clocks = Clocks {
            last_data_sent_ms: four_hours_ago + 2_000,
            last_data_recv_ms: four_hours_ago,
            last_ack_recv_ms: four_hours_ago,
        };
        let time_wait = state == TimeWait;
        snapshot.sockets.push(SocketRecord {
            netns: NetNsIndex(netns),
            state,
            kind: if time_wait { SocketKind::TimeWait } else { SocketKind::Full },
            family: Family::V4,
            tuple: FourTuple { local: endpoint(local), remote: endpoint(remote) },
            interface: 0,
            cookie: None,
            inode,
            uid: inode.map(|_| 1000),
            cgroup: None,
            queues: match state {
                Listen => Queues::Listen { waiting: 0, limit: Some(128) },
                _ => Queues::Data { recv: u32::from(state == CloseWait), send: 0 },
            },
            timer: if time_wait { Timer::TimeWait(30_000) } else { Timer::Off },
            binding: PortBinding::Auto,
            v6only: None,
            clocks: (state == CloseWait).then_some(clocks),
            mptcp: None,
        });
    }
}
