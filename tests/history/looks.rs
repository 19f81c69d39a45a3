//! What was seen reads back to the letter, and the series of the trend are what the looks say.

use closewatch::history::numbers::Spread;
use closewatch::model::past::{LimitKind, Memory, OtherMemory, PoolMemory, ProcessMemory, Track};
use closewatch::model::process::ProcessKey;

use super::sample::{Numbers, at, busy, empty, pool, pool_name, process, service};
use super::{all_looks, open, past_at, points, series};

#[test]
fn a_look_reads_back_to_the_letter() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut numbers = Numbers(1);
    let mut memory = busy(0, &mut numbers);
    memory.processes[3].ghosts = None;
    memory.processes[4].fds_open = None;
    memory.processes[5].fds_limit = None;
    memory.processes[6].service.container = Some("c".repeat(64));
    memory.processes[6].service.name = ") \u{1b}[31m\n".to_owned();
    memory.n_stuck = 77;
    open(&path).remember(&memory).expect("remembers");

    let looks = all_looks(&mut open(&path));
    let [look] = looks.as_slice() else { panic!("one look: {looks:?}") };
    assert_eq!((look.began, look.ended, look.looks), (at(0), at(0), 1));
    assert_eq!((look.boot_id.clone(), look.verdict.as_str()), (memory.boot_id.clone(), "warning"));
    assert!(look.attributed);
    assert_eq!(look.n_stuck, Spread::of(77));
    for ((name, states), namespace) in look.namespaces.iter().zip(&memory.namespaces) {
        assert_eq!(*name, namespace.name);
        let counts: Vec<Spread> = namespace.states.iter().map(|(_, count)| Spread::of(count)).collect();
        assert_eq!(states.to_vec(), counts);
    }
    let read: Vec<ProcessMemory> = look
        .processes
        .iter()
        .map(|(program, numbers)| ProcessMemory {
            service: program.service.clone(),
            key: program.key,
            sockets: numbers.sockets.last,
            close_wait: numbers.close_wait.last,
            stuck: numbers.stuck.last,
            ghosts: numbers.ghosts.map(|ghosts| ghosts.last),
            fds_open: numbers.fds_open.map(|open| open.last),
            fds_limit: numbers.fds_limit,
        })
        .collect();
    assert_eq!(read, memory.processes);
    let read: Vec<PoolMemory> = look
        .pools
        .iter()
        .map(|(name, numbers)| {
            let (run, held) = numbers.holder.expect("a holder");
            let index = look.processes.iter().position(|(program, _)| program.run == run).expect("a listed process");
            let (used, stuck) = (numbers.used.last, numbers.stuck.last);
            PoolMemory { name: name.clone(), usable: numbers.usable, used, stuck, holder: Some((index, held)) }
        })
        .collect();
    assert_eq!(read, memory.pools);
    let limits: Vec<_> = memory.limits.iter().map(|limit| (limit.kind, limit.netns.clone(), limit.used)).collect();
    let read: Vec<_> =
        look.limits.iter().map(|((kind, netns), numbers)| (*kind, netns.clone(), numbers.used.last)).collect();
    assert_eq!(read, limits);
    let others = [look.other_processes, look.other_pools].map(|other| OtherMemory {
        count: other.count.last,
        sockets: other.sockets.last,
        stuck: other.stuck.last,
    });
    assert_eq!(others, [memory.other_processes, memory.other_pools]);
}

/// Remembers the looks, and reads the series at the end.
fn series_of(memories: &[Memory], track: &Track) -> Vec<(i64, u64, u64, u64)> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    history.remember_all(memories).expect("remembers");
    let past = past_at(&mut history, 100_000);
    assert_eq!(past.looks.len(), memories.len());
    let series = series(&past, track);
    let runs = series.points.iter().map(|point| point.run);
    points(series).into_iter().zip(runs).map(|((at, used, leaked), run)| (at, used, leaked, run)).collect()
}

#[test]
fn a_restart_is_another_line_and_an_unknown_number_no_point() {
    let look = |seconds, processes: Vec<ProcessMemory>| Memory { processes, ..empty(seconds) };
    let blind = ProcessMemory { fds_open: None, ..process("web", 7, 130) };
    let memories = [
        look(0, vec![process("web", 7, 100)]),
        look(300, vec![process("web", 7, 120)]),
        look(600, vec![blind]),
        Memory { attributed: false, ..look(900, Vec::new()) },
        look(1_200, Vec::new()),
        look(1_500, vec![process("web", 8, 1)]),
    ];
    let points = series_of(&memories, &Track::Descriptors(service("web")));
    let numbers: Vec<_> = points.iter().map(|(at, used, leaked, _)| (*at, *used, *leaked)).collect();
    assert_eq!(numbers, [(0, 140, 102), (300, 160, 122), (1_500, 41, 3)]);
    let runs: Vec<u64> = points.iter().map(|point| point.3).collect();
    assert!(runs[0] == runs[1] && runs[1] != runs[2] && !runs.contains(&0), "{runs:?}");
}

#[test]
fn the_same_pid_and_start_in_another_boot_is_another_run() {
    let look = |seconds, boot: &str| Memory {
        processes: vec![process("web", 7, 100)],
        boot_id: Some(boot.to_owned()),
        ..empty(seconds)
    };
    let points = series_of(&[look(0, "one"), look(300, "two")], &Track::Descriptors(service("web")));
    assert_ne!(points[0].3, points[1].3, "{points:?}");
}

#[test]
fn of_several_workers_the_one_that_leaks_most_now_is_followed_from_its_start() {
    let look = |seconds, stuck: [u64; 2]| Memory {
        processes: vec![process("web", 7, stuck[0]), process("web", 8, stuck[1])],
        ..empty(seconds)
    };
    let alone = Memory { processes: vec![process("web", 7, 5)], ..empty(0) };
    let memories = [alone, look(300, [50, 10]), look(600, [55, 60]), look(900, [40, 110])];
    let points = series_of(&memories, &Track::Descriptors(service("web")));
    let leaked: Vec<u64> = points.iter().map(|point| point.2).collect();
    assert_eq!(leaked, [7, 12, 62, 112], "process 8 back to its start, process 7 before that");
}

#[test]
fn where_ghosts_are_known_a_look_that_could_not_tell_is_no_point() {
    let look = |seconds, ghosts| {
        let process = ProcessMemory { ghosts, ..process("web", 7, 10) };
        Memory { processes: vec![process], ..empty(seconds) }
    };
    let track = Track::Descriptors(service("web"));
    let leaked = |ghosts: [Option<u64>; 3]| -> Vec<u64> {
        let memories = [look(0, ghosts[0]), look(300, ghosts[1]), look(600, ghosts[2])];
        series_of(&memories, &track).into_iter().map(|point| point.2).collect()
    };
    assert_eq!(leaked([Some(90), None, Some(95)]), [100, 105]);
    assert_eq!(leaked([None; 3]), [10; 3], "what is surely leaked without them");
}

#[test]
fn a_pool_that_a_full_list_misses_was_empty_and_one_that_a_cut_list_misses_is_not_known() {
    let look = |seconds, pools: Vec<PoolMemory>| Memory { pools, ..empty(seconds) };
    let mut cut = look(600, vec![pool(2, 9)]);
    cut.other_pools.count = 1;
    let memories = [
        look(0, vec![pool(1, 50)]),
        look(300, Vec::new()),
        cut,
        look(900, vec![pool(1, 70)]),
        look(1_200, Vec::new()),
        look(1_500, Vec::new()),
    ];
    let points = series_of(&memories, &Track::Ports(pool_name(1)));
    let numbers: Vec<_> = points.iter().map(|(at, used, leaked, _)| (*at, *used, *leaked)).collect();
    assert_eq!(numbers, [(0, 60, 50), (300, 0, 0), (900, 80, 70), (1_200, 0, 0)]);
}

#[test]
fn the_line_of_a_pool_ends_with_the_process_that_held_it() {
    let look = |seconds, pids: [u32; 2], holder: Option<usize>, held: u64| Memory {
        processes: pids.map(|pid| process("web", pid, 5)).to_vec(),
        pools: vec![PoolMemory { holder: holder.map(|index| (index, held)), ..pool(1, 90) }],
        ..empty(seconds)
    };
    let memories = [
        look(0, [7, 8], Some(0), 51),
        look(300, [7, 8], Some(1), 52),
        look(600, [7, 8], None, 0),
        look(900, [7, 8], Some(1), 80),
        look(1_200, [9, 7], Some(0), 40),
        look(1_500, [9, 7], Some(1), 41),
    ];
    let runs: Vec<u64> = series_of(&memories, &Track::Ports(pool_name(1))).into_iter().map(|point| point.3).collect();
    let [seven, eight, nine] = [runs[0], runs[3], runs[4]];
    assert!(seven != eight && eight != nine && nine != seven, "{runs:?}");
    // 8 overtakes 7 and both go on: one line; 8 holds two thirds: its line; 8 is gone: that of the foremost, 9.
    assert_eq!(runs, [seven, seven, seven, eight, nine, nine]);
}

#[test]
fn limits_have_series_of_their_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    history.remember(&busy(0, &mut Numbers(4))).expect("remembers");
    let past = past_at(&mut history, 10);
    let conntrack = series(&past, &Track::Limit(LimitKind::Conntrack, Some("init".to_owned())));
    assert_eq!(conntrack.points.last().and_then(|point| point.limit), Some(1_048_576.0));
    assert_eq!(past.series.len(), 32 + 32 + 4);
    assert_eq!(past.last_verdict.as_deref(), Some("warning"));
    let run = |track: &Track| series(&past, track).points.last().map(|point| point.run);
    let holder = run(&Track::Ports(pool_name(5)));
    assert!(holder.is_some_and(|run| run > 0));
    assert_eq!(run(&Track::Descriptors(service("service-5"))), holder, "one run, one number");
}

#[test]
fn a_list_without_an_end_is_cut_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let processes = (1..=1_000)
        .map(|pid| ProcessMemory { key: ProcessKey { pid, start_ticks: 1 }, ..process(&format!("job-{pid}"), pid, 1) });
    history.remember(&Memory { processes: processes.collect(), ..empty(0) }).expect("remembers");
    let looks = all_looks(&mut history);
    assert_eq!(looks[0].processes.len(), 256);
    assert_eq!(looks[0].other_processes.count, Spread::of(744));
    assert_eq!(looks[0].other_processes.stuck, Spread::of(744));
}
