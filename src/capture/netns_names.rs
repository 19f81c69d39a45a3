//! What people call a network namespace, and what lives in it.

use std::collections::HashMap;
use std::path::Path;

use super::cgroup::parse_placement;
use super::netns::{is_initial, pid_1_is_of_the_host};
use super::place::{Place, Task, Way, read_text_id};
use crate::model::process::Placement;
use crate::model::snapshot::NetNs;

/// Of the tasks in a namespace, so many are asked for a container: the first may be a helper that came from outside.
const TASKS_ASKED: usize = 8;
/// Characters of a container's id that tell it from others; runtimes print as many themselves.
const ID_LENGTH: usize = 12;
/// Characters of a pod's uid that tell it from others.
const UID_LENGTH: usize = 8;

/// The number of the place, its best name, and what lives in it.
pub(super) fn identify(place: &Place) -> NetNs {
    let is_initial = is_initial_place(place);
    let own = Task { pid: std::process::id(), thread: None };
    let placement = match (is_initial, place.is_own) {
        (true, _) => Placement::default(),
        (false, true) => placement_of(&[own]),
        (false, false) => placement_of(&place.tasks),
    };
    let name = if is_initial { "init".to_owned() } else { name_of(place, &placement) };
    let Placement { unit, container, runtime, pod } = placement;
    NetNs { inode: place.inode, name, container, runtime, pod, unit }
}

/// Makes the names differ: those that several namespaces have get the number that they are told apart by.
pub(super) fn tell_apart<'a>(namespaces: impl Iterator<Item = &'a mut NetNs>) {
    let mut namesakes: HashMap<String, Vec<&mut NetNs>> = HashMap::new();
    for namespace in namespaces {
        namesakes.entry(namespace.name.clone()).or_default().push(namespace);
    }
    for namesakes in namesakes.into_values().filter(|namesakes| namesakes.len() > 1) {
        for (nth, namespace) in namesakes.into_iter().enumerate() {
            let number = namespace.inode.map_or_else(|| format!("#{}", nth + 1), |inode| format!("net:[{inode}]"));
            namespace.name = format!("{} {number}", namespace.name);
        }
    }
}

fn is_initial_place(place: &Place) -> bool {
    match (place.inode, place.text_id) {
        (Some(inode), _) => is_initial(inode),
        (None, Some(text_id)) => pid_1_is_of_the_host() && read_text_id(Path::new("/proc/1/net")) == Some(text_id),
        (None, None) => false,
    }
}

fn name_of(place: &Place, placement: &Placement) -> String {
    if let Some(name) = &place.ip_name {
        return name.clone();
    }
    if place.is_own {
        return "current".to_owned();
    }
    if let Some(uid) = &placement.pod {
        return format!("pod {}", beginning(uid, UID_LENGTH));
    }
    if let Some(id) = &placement.container {
        let is_hash = id.len() > ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if is_hash { beginning(id, ID_LENGTH) } else { id.clone() };
    }
    // The scope of a session says where its user came from, not what this is.
    if let Some(service) = placement.unit.as_ref().filter(|unit| unit.ends_with(".service")) {
        return service.clone();
    }
    match (place.tasks.first(), place.ways.first(), place.inode) {
        (Some(task), ..) => format!("pid {}", task.pid),
        (None, Some(Way::Mounted { path, .. } | Way::Closed { path, .. }), _) => path.display().to_string(),
        (None, Some(Way::Descriptor(task, fd)), _) => format!("descriptor {fd} of pid {}", task.pid),
        (None, None, Some(inode)) => format!("net:[{inode}]"),
        (None, None, None) => "unknown".to_owned(),
    }
}

fn beginning(text: &str, n_chars: usize) -> String {
    text.chars().take(n_chars).collect()
}

/// Where the first of the tasks belongs that is in a container, else the first of all.
fn placement_of(tasks: &[Task]) -> Placement {
    let mut first = None;
    for task in tasks.iter().take(TASKS_ASKED) {
        let Some(placement) = read_placement(task) else { continue };
        if placement.container.is_some() || placement.pod.is_some() {
            return placement;
        }
        first.get_or_insert(placement);
    }
    first.unwrap_or_default()
}

/// Where the task belongs; `None` when it is gone or may not be looked at. That holders are placed is another matter,
/// and what is missing there is told there.
pub(super) fn read_placement(task: &Task) -> Option<Placement> {
    let text = std::fs::read(task.dir().join("cgroup")).ok()?;
    Some(parse_placement(&String::from_utf8_lossy(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(task: u32) -> Place {
        Place { inode: Some(5), tasks: vec![Task { pid: task, thread: None }], ..Place::default() }
    }

    #[test]
    fn a_namespace_has_the_best_name_there_is() {
        let id = "4c01db0b339c4b8a9c8d1e0f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d";
        let mut placement = Placement { unit: Some("session-3.scope".to_owned()), ..Placement::default() };
        let mut here = place(7);
        assert_eq!(name_of(&here, &placement), "pid 7");
        placement.unit = Some("web.service".to_owned());
        assert_eq!(name_of(&here, &placement), "web.service");
        placement.container = Some("web-1".to_owned());
        assert_eq!(name_of(&here, &placement), "web-1");
        placement.container = Some(id.to_owned());
        assert_eq!(name_of(&here, &placement), "4c01db0b339c");
        placement.pod = Some("1a2b3c4d-0102-4a5b-8c9d-00aa11bb22cc".to_owned());
        assert_eq!(name_of(&here, &placement), "pod 1a2b3c4d");
        here.is_own = true;
        assert_eq!(name_of(&here, &placement), "current");
        here.ip_name = Some("blue".to_owned());
        assert_eq!(name_of(&here, &placement), "blue");
    }

    #[test]
    fn without_tasks_the_way_in_is_the_name() {
        let task = Task { pid: 7, thread: None };
        let by_fd = Place { inode: Some(5), ways: vec![Way::Descriptor(task, 3)], ..Place::default() };
        assert_eq!(name_of(&by_fd, &Placement::default()), "descriptor 3 of pid 7");
        let nothing = Place { inode: Some(5), ..Place::default() };
        assert_eq!(name_of(&nothing, &Placement::default()), "net:[5]");
    }

    #[test]
    fn namesakes_are_told_apart_by_their_numbers() {
        let named = |name: &str, inode| NetNs { name: name.to_owned(), inode, ..NetNs::default() };
        let mut namespaces = [named("a", Some(1)), named("b", Some(2)), named("a", Some(3)), named("a", None)];
        tell_apart(namespaces.iter_mut());
        assert_eq!(namespaces.map(|namespace| namespace.name), ["a net:[1]", "b", "a net:[3]", "a #3"]);
    }

    #[test]
    fn our_own_namespace_is_known() {
        let inode = super::super::netns::read_own_id().expect("our own").inode;
        let id = identify(&Place::own(Some(inode)));
        assert_eq!(id.inode, Some(inode));
        assert!(["init", "current"].contains(&id.name.as_str()), "{id:?}");
    }
}
