//! All network namespaces of the host in one look.
//!
//! The own namespace is read where this program is, while a thread looks for the others and visits them on all cores;
//! only threads that end with their errand move. Two rounds follow when the descriptors of all processes are known: to the
//! namespaces that only a descriptor keeps, and to those that nobody told the number of and that none of the others is.

use std::collections::HashSet;
use std::io;
use std::thread;

use super::gap_folding::fold;
use super::look::{Look, look_here, look_through_tasks};
use super::netns::read_own_id;
use super::netns_list::{NetNsFd, Survey, find_namespaces};
use super::netns_names::{identify, tell_apart};
use super::place::{Closed, Place};
use super::sysctl::{gap, reason};
use super::view::View;
use super::workers::spread;
use super::{CaptureError, Request};
use crate::model::snapshot::{Gap, Hides};

/// What came of going to one namespace.
#[derive(Debug)]
pub(super) struct Visit {
    /// Where that is.
    pub(super) place: Place,
    /// What it showed, or why it showed nothing.
    pub(super) seen: Result<Look, Missed>,
}

/// Why a namespace showed nothing.
#[derive(Debug)]
pub(super) enum Missed {
    /// It could be neither entered nor read from outside.
    Closed(Closed),
    /// Its tables could not be read.
    Unread(CaptureError),
    /// There was no time left for it.
    TooLate,
}

/// What is seen before the descriptors of all processes are known.
#[derive(Debug)]
pub(super) struct FirstRound {
    own: Visit,
    others: Vec<Visit>,
    survey: Survey,
}

/// Looks at the own namespace and at all that processes, threads and mounts lead to.
pub(super) fn begin(request: &Request) -> FirstRound {
    let own_id = read_own_id();
    let own_place = Place::own(own_id.as_ref().ok().map(|id| id.inode));
    let look_around = || {
        let survey = match &own_id {
            Ok(id) => find_namespaces(*id, request.deadline),
            Err(error) => Survey { gaps: vec![others_unseen(error)], ..Survey::default() },
        };
        let others: Vec<Place> = survey.places.iter().filter(|place| !place.is_own).cloned().collect();
        (survey, others)
    };
    let look_at_own = || look_here(&own_place, request).map_err(Missed::Unread);
    let (seen, (survey, others)) = thread::scope(|scope| {
        let visit_others = || {
            let (survey, others) = look_around();
            (survey, visit_all(others, request, MayMove::Yes))
        };
        match thread::Builder::new().name("namespaces".to_owned()).spawn_scoped(scope, visit_others) {
            Ok(visitor) => {
                let seen = look_at_own();
                (seen, visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            }
            // A host that leaks may well be out of threads.
            Err(_) => {
                let (survey, others) = look_around();
                (look_at_own(), (survey, visit_all(others, request, MayMove::No)))
            }
        }
    });
    FirstRound { own: Visit { place: own_place, seen }, others, survey }
}

/// Looks at what is left, and puts everything together.
///
/// # Errors
/// When not even the own namespace could be read, nor any other.
pub(super) fn finish(first: FirstRound, fds: &[NetNsFd], request: &Request) -> Result<View, CaptureError> {
    let FirstRound { mut own, mut others, survey } = first;
    if let Some(place) = survey.places.iter().find(|place| place.is_own) {
        own.place = place.clone();
    }
    others.extend(visit_on_threads(survey.kept_by_descriptors(fds), request));
    let visits = others.iter().chain([&own]);
    let known: HashSet<u64> = visits.filter_map(|visit| visit.seen.as_ref().ok()?.text_id).collect();
    let unnumbered = survey.unnumbered.into_iter().filter(|place| place.text_id.is_none_or(|id| !known.contains(&id)));
    others.extend(visit_on_threads(unnumbered.collect(), request));
    together(own, others, survey.gaps)
}

/// Whether the threads that visit may move from one namespace to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MayMove {
    Yes,
    No,
}

fn visit_on_threads(places: Vec<Place>, request: &Request) -> Vec<Visit> {
    if places.is_empty() {
        return Vec::new();
    }
    thread::scope(|scope| {
        let visit = || visit_all(places.clone(), request, MayMove::Yes);
        match thread::Builder::new().name("namespaces".to_owned()).spawn_scoped(scope, visit) {
            Ok(visitor) => visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => visit_all(places.clone(), request, MayMove::No),
        }
    })
}

/// Visits the places on all cores. The calling thread is one that visits.
fn visit_all(places: Vec<Place>, request: &Request, may_move: MayMove) -> Vec<Visit> {
    let numbered: Vec<(usize, Place)> = places.into_iter().enumerate().collect();
    let done = spread(&numbered, request.deadline, Vec::new, |visits, (nth, place)| {
        visits.extend(visit(place, request, may_move).map(|seen| (*nth, seen)));
    });
    let n_done = done.n_done;
    let mut outcomes: Vec<Option<Result<Look, Missed>>> =
        (0..numbered.len()).map(|nth| (nth >= n_done).then_some(Err(Missed::TooLate))).collect();
    for (nth, seen) in done.gathered.into_iter().flatten() {
        outcomes[nth] = Some(seen);
    }
    let visits = numbered.into_iter().zip(outcomes);
    visits.filter_map(|((_, place), seen)| Some(Visit { place, seen: seen? })).collect()
}

/// `None` when all that led there is gone: a namespace that ends during the look is as if it had ended before.
fn visit(place: &Place, request: &Request, may_move: MayMove) -> Option<Result<Look, Missed>> {
    let closed = match may_move {
        MayMove::Yes => match place.enter() {
            Ok(()) => return Some(look_here(place, request).map_err(Missed::Unread)),
            Err(closed) => closed,
        },
        MayMove::No => Closed::Error(io::Error::other("no thread could be made to enter it")),
    };
    match look_through_tasks(place, &closed) {
        Ok(look) => Some(Ok(look)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && place.ways.is_empty() => None,
        Err(_) if matches!(closed, Closed::Gone) => None,
        Err(_) => Some(Err(Missed::Closed(closed))),
    }
}

fn together(own: Visit, others: Vec<Visit>, survey_gaps: Vec<Gap>) -> Result<View, CaptureError> {
    let mut view = View::default();
    let mut unseen: Vec<(Place, Missed)> = Vec::new();
    let n_read_outside = others.iter().filter(|visit| visit.place.inode.is_none() && visit.seen.is_ok()).count();
    let mut seen: Vec<(Place, Look)> = Vec::new();
    for visit in [own].into_iter().chain(others) {
        match visit.seen {
            Ok(mut look) => {
                if visit.place.is_own {
                    // What `ip netns` calls it was not known when it was read.
                    look.namespace.id = identify(&visit.place);
                }
                seen.push((visit.place, look));
            }
            Err(missed) => unseen.push((visit.place, missed)),
        }
    }
    let unread = |(_, missed): &(Place, Missed)| matches!(missed, Missed::Unread(_));
    if seen.is_empty()
        && let Some(at) = unseen.iter().position(unread)
        && let (_, Missed::Unread(error)) = unseen.swap_remove(at)
    {
        return Err(error);
    }
    seen.sort_by_cached_key(|(place, look)| {
        let id = &look.namespace.id;
        (!place.is_own, id.name != "init", place.ip_name.is_none(), id.name.clone(), id.inode)
    });
    tell_apart(seen.iter_mut().map(|(_, look)| &mut look.namespace.id));
    for (place, look) in seen {
        view.add(place, look);
    }
    view.gaps.extend(survey_gaps);
    view.gaps.extend(gaps_of(&unseen, n_read_outside));
    Ok(view)
}

/// What the namespaces that were not seen hide.
fn gaps_of(unseen: &[(Place, Missed)], n_read_outside: usize) -> Vec<Gap> {
    let of_one = |(place, missed): &(Place, Missed)| {
        let mut why = missed.why();
        if place.tasks.is_empty() && n_read_outside > 0 {
            why.push_str("; it may be one of those that were read through a process");
        }
        (identify(place).name, vec![gap("the sockets", why, Hides::Sockets)])
    };
    let mut of_all: Vec<_> = unseen.iter().map(of_one).collect();
    of_all.sort_by(|(a, _), (b, _)| a.cmp(b));
    fold(of_all, "of")
}

impl Missed {
    fn why(&self) -> String {
        match self {
            Self::Closed(closed) => closed.why(),
            Self::Unread(error) => error.to_string(),
            Self::TooLate => "the deadline passed before it was looked at".to_owned(),
        }
    }
}

fn others_unseen(error: &io::Error) -> Gap {
    gap("other network namespaces", format!("/proc/thread-self/ns/net: {}", reason(error)), Hides::Sockets)
}
