//! What is known here of the other ends of connections that one side has closed and the other has not.

use std::collections::BTreeMap;

use crate::attribution::Unresolved;
use crate::census::PeerCensus;
use crate::census::pairs::{EndHolder, PairCensus, PairEnd};
use crate::diagnosis::owner::Owner;
use crate::diagnosis::scene::Scene;
use crate::model::socket::NetNsIndex;
use crate::model::wording::count;

/// Who has closed the other ends of the CLOSE-WAIT that this owner holds in this namespace; nothing when none of them was
/// seen here.
pub(super) fn who_closed(scene: &Scene<'_>, owner: Owner, netns: NetNsIndex) -> Option<String> {
    let rows = scene.census.pairs.rows.iter().filter(|row| is_of(scene, row, owner, netns));
    let mut ends: BTreeMap<PairEnd, u64> = BTreeMap::new();
    for row in rows {
        *ends.entry(row.closed).or_default() += row.count;
    }
    let (most, n) = ends.iter().max_by_key(|(_, n)| **n)?;
    let who = match most.holder {
        EndHolder::Held(process) => format!("{} shut its side down and still holds it", scene.who(process)),
        EndHolder::Kernel(Some(process)) => format!("its program closed it ({} listens there)", scene.who(process)),
        EndHolder::Kernel(None) | EndHolder::NotAccepted(_) => "its program closed it".to_owned(),
        EndHolder::Unseen => "a process that could not be seen shut its side down and still holds it".to_owned(),
    };
    let others = ends.values().sum::<u64>() - n;
    let more = if others == 0 { String::new() } else { format!(" Other programs here closed {} more.", count(others)) };
    Some(format!(
        "The other end of {} of them is on this host{}, in FIN-WAIT-2: {who}.{more}",
        count(*n),
        scene.place(most.netns)
    ))
}

/// Whether the end in CLOSE-WAIT is this owner's. The sockets of unseen processes are told apart by their namespace only:
/// where several users have some there, it is not known whose an end is.
fn is_of(scene: &Scene<'_>, row: &PairCensus, owner: Owner, netns: NetNsIndex) -> bool {
    match owner {
        Owner::Process(process) => row.kept.holder == EndHolder::Held(process),
        Owner::Stranger { .. } => {
            let users = scene.census.strangers.iter().filter(|stranger| stranger.netns == netns).count();
            row.kept.holder == EndHolder::Unseen && row.kept.netns == netns && users == 1
        }
    }
}

/// Those that keep the other ends of a peer's FIN-WAIT-2 open, on this host.
pub(super) struct Keepers {
    /// How many connections.
    pub(super) count: u64,
    /// Who keeps most of them, and where; `None` when the count is 0.
    pub(super) first: Option<PairEnd>,
    /// Whether others keep some too.
    pub(super) several: bool,
}

/// Who keeps the other ends of this peer's connections open.
pub(super) fn keepers(scene: &Scene<'_>, peer: &PeerCensus) -> Keepers {
    let theirs = |row: &&PairCensus| {
        let closed = row.closed;
        (closed.netns, closed.direction) == (peer.netns, peer.direction)
            && row.peer_of_closed() == (peer.address, peer.port)
    };
    let mut ends: BTreeMap<PairEnd, u64> = BTreeMap::new();
    for row in scene.census.pairs.rows.iter().filter(theirs) {
        *ends.entry(row.kept).or_default() += row.count;
    }
    let first = ends.iter().max_by_key(|(_, n)| **n).map(|(end, _)| *end);
    Keepers { count: ends.values().sum(), first, several: ends.len() > 1 }
}

impl Keepers {
    /// `telegraf[1234] (telegraf.service) in namespace web`, or a word for who is not known.
    pub(super) fn names(&self, scene: &Scene<'_>) -> Option<String> {
        let first = self.first?;
        let who = match first.holder {
            EndHolder::Held(process) => scene.who_and_where(process),
            EndHolder::NotAccepted(Some(process)) => format!("the accept queue of {}", scene.who(process)),
            EndHolder::NotAccepted(None) => "an accept queue".to_owned(),
            EndHolder::Kernel(_) | EndHolder::Unseen => unseen(scene).to_owned(),
        };
        let others = if self.several { " and others" } else { "" };
        Some(format!("{who}{}{others}", scene.place(first.netns)))
    }
}

fn unseen(scene: &Scene<'_>) -> &'static str {
    let not_looked = scene.census.strangers.iter().any(|stranger| stranger.reason == Unresolved::NotLooked);
    if not_looked { "a process that was not looked for" } else { "a process that could not be seen" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::finding::Rule;
    use crate::diagnosis::scripted::{Script, endpoint, stuck};

    const SERVER: &str = "10.0.3.7:443";

    fn leak() -> Script {
        let mut script = Script::new();
        let leaker = script.process("telegraf", 1234);
        script.destination(endpoint(SERVER));
        script.close_wait(leaker, stuck(50, 600), &[endpoint(SERVER)]);
        script.process("nginx", 12);
        script
    }

    fn told(script: &Script) -> Option<String> {
        let details = script.only(Rule::CloseWaitLeak).details;
        details.into_iter().find(|detail| detail.contains("The other end"))
    }

    #[test]
    fn a_leak_tells_who_closed_the_other_end_when_that_is_here() {
        let mut script = leak();
        assert_eq!(told(&script), None, "the other end is on another host");
        let (leaker, server) = (script.census.processes[0].process, script.census.processes[1].process);
        let kept = EndHolder::Held(leaker);
        for (closed, words) in [
            (EndHolder::Held(server), "nginx[12] shut its side down and still holds it."),
            (EndHolder::Kernel(Some(server)), "its program closed it (nginx[12] listens there)."),
            (EndHolder::Kernel(None), "its program closed it."),
            (EndHolder::Unseen, "a process that could not be seen shut its side down and still holds it."),
        ] {
            script.census.pairs.rows.clear();
            script.pair(kept, closed, endpoint(SERVER), 25);
            let expected = format!("The other end of 25 of them is on this host, in FIN-WAIT-2: {words}");
            assert_eq!(told(&script), Some(expected));
        }
        script.pair(kept, EndHolder::Kernel(None), endpoint(SERVER), 5);
        assert!(told(&script).is_some_and(|told| told.ends_with("Other programs here closed 5 more.")));
        // That of somebody else's leak.
        script.census.pairs.rows.clear();
        script.pair(EndHolder::Held(server), EndHolder::Kernel(None), endpoint(SERVER), 25);
        assert_eq!(told(&script), None);
    }

    #[test]
    fn the_namespace_of_the_other_end_is_told_when_there_are_several() {
        let mut script = leak();
        let mut web = script.snapshot.namespaces[0].clone();
        web.id.name = "web".to_owned();
        script.snapshot.namespaces.push(web);
        let (leaker, server) = (script.census.processes[0].process, script.census.processes[1].process);
        script.pair(EndHolder::Held(leaker), EndHolder::Held(server), endpoint(SERVER), 25).closed.netns =
            NetNsIndex(1);
        assert!(
            told(&script).is_some_and(|told| told.contains("is on this host in namespace web, in FIN-WAIT-2: nginx"))
        );
    }

    #[test]
    fn the_unseen_are_told_apart_by_namespace_and_only_where_that_is_enough() {
        let mut script = Script::new();
        script.destination(endpoint(SERVER));
        script.strangers(stuck(50, 600), Unresolved::NoHolderSeen, endpoint(SERVER));
        script.pair(EndHolder::Unseen, EndHolder::Kernel(None), endpoint(SERVER), 25);
        assert!(told(&script).is_some());
        script.strangers(stuck(5, 600), Unresolved::NoHolderSeen, endpoint(SERVER));
        assert_eq!(told(&script), None);
    }
}
