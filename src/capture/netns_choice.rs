//! One network namespace, as it was asked for.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::look::{look_here, look_through_tasks};
use super::netns::read_own_id;
use super::netns_list::{Survey, find_namespaces};
use super::netns_names::{identify, read_placement};
use super::place::{Place, Task};
use super::procfs;
use super::view::View;
use super::{CaptureError, Deadline, Request};
use crate::model::selection::Selection;

/// The own namespace.
pub(super) fn own_place() -> Place {
    Place::own(read_own_id().ok().map(|id| id.inode))
}

/// That of a process.
///
/// # Errors
/// [`CaptureError::EnterNetNs`] when there is no such process.
pub(super) fn place_of_process(pid: u32) -> Result<Place, CaptureError> {
    let task = Task { pid, thread: None };
    let own = read_own_id().ok();
    match fs::metadata(task.dir().join("ns/net")) {
        Ok(link) => {
            let is_own = own.is_some_and(|own| (own.device, own.inode) == (link.dev(), link.ino()));
            Ok(Place { inode: Some(link.ino()), tasks: vec![task], is_own, ..Place::default() })
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(Place { tasks: vec![task], ..Place::default() })
        }
        Err(error) => Err(CaptureError::EnterNetNs { pid, error }),
    }
}

/// The one that people call so: by the name that the report shows, by its inode, or by the beginning of the id of a
/// container or of the uid of a pod in it.
///
/// # Errors
/// [`CaptureError::NoSuchNetNs`] with the names that there are, [`CaptureError::ManyNetNs`] when several are called so.
pub(super) fn place_named(name: &str, deadline: Deadline) -> Result<Place, CaptureError> {
    let no_such = |known| CaptureError::NoSuchNetNs { name: name.to_owned(), known };
    let own = read_own_id().map_err(|_| no_such(Vec::new()))?;
    let survey = find_namespaces(own, deadline);
    let Survey { places, unnumbered, .. } = &survey;
    let named: Vec<(String, &Place)> =
        places.iter().chain(unnumbered).map(|place| (identify(place).name, place)).collect();
    let by_name: Vec<&Place> = named.iter().filter(|(known, _)| known == name).map(|(_, place)| *place).collect();
    let found = if by_name.is_empty() { by_content(name, &survey) } else { by_name };
    match found.as_slice() {
        [place] => Ok((*place).clone()),
        [] => {
            // Reading every descriptor takes longest, and hardly any namespace is kept by one alone.
            let links = procfs::scan_descriptors(&Selection::default(), deadline);
            let kept = survey.kept_by_descriptors(&links.namespaces);
            let is_it = |place: &Place| has_inode(place, name) || identify(place).name == name;
            kept.into_iter().find(is_it).ok_or_else(|| {
                let mut known: Vec<String> = named.into_iter().map(|(name, _)| name).collect();
                known.sort();
                no_such(known)
            })
        }
        several => Err(CaptureError::ManyNetNs {
            name: name.to_owned(),
            inodes: several.iter().filter_map(|place| place.inode).collect(),
        }),
    }
}

/// Looks at one place only, where the calling thread is or on a thread that goes there.
///
/// # Errors
/// When it can be neither entered nor read from outside, or its tables cannot be read.
pub(super) fn look_at_one(place: Place, request: &Request) -> Result<View, CaptureError> {
    let closed = match place.visit(|| look_here(&place, request)) {
        Ok(seen) => return seen.map(|look| alone(place, look)),
        Err(closed) => closed,
    };
    match look_through_tasks(&place, &closed) {
        Ok(look) => Ok(alone(place, look)),
        Err(_) => {
            let error = closed.into();
            Err(match place.tasks.first() {
                Some(task) => CaptureError::EnterNetNs { pid: task.pid, error },
                None => CaptureError::EnterNamedNetNs { name: identify(&place).name, error },
            })
        }
    }
}

fn alone(place: Place, look: super::look::Look) -> View {
    let mut view = View::default();
    view.add(place, look);
    view
}

fn by_content<'a>(name: &str, survey: &'a Survey) -> Vec<&'a Place> {
    let all = || survey.places.iter().chain(&survey.unnumbered);
    let by_inode: Vec<&Place> = all().filter(|place| has_inode(place, name)).collect();
    if !by_inode.is_empty() {
        return by_inode;
    }
    // Every task is asked: the namespace of a pod is that of several containers.
    let lives_in = |place: &&Place| {
        let placements = place.tasks.iter().filter_map(read_placement);
        let ids: BTreeSet<String> = placements.flat_map(|placed| [placed.container, placed.pod]).flatten().collect();
        ids.iter().any(|id| id.starts_with(name))
    };
    all().filter(lives_in).collect()
}

fn has_inode(place: &Place, name: &str) -> bool {
    place.inode.is_some_and(|inode| name.parse() == Ok(inode))
}
