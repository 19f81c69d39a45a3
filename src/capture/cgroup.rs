//! From the text of `/proc/PID/cgroup` to the systemd unit, the container and the pod of a process. Pure.
//!
//! One line per hierarchy, `ID:CONTROLLERS:PATH` (cgroups(7)): the unified hierarchy is `0::PATH`, that of systemd on a
//! host with version 1 is `N:name=systemd:PATH`. How a path is made up is the choice of systemd
//! (`src/basic/cgroup-util.c`), of each container runtime and of the kubelet (`pkg/kubelet/cm`); the table in the tests
//! names them.

use crate::model::process::{ContainerRuntime, Placement};

/// Unit, container and pod that the cgroups of a process name. Of nested units and containers the innermost is meant: it is
/// what the process itself belongs to.
pub(super) fn parse_placement(text: &str) -> Placement {
    let mut placement = Placement::default();
    let mut paths: Vec<(bool, &str)> = text.lines().filter_map(parse_line).collect();
    // systemd's own hierarchy knows the unit; a runtime that does not ask systemd writes to the other hierarchies only.
    paths.sort_by_key(|(of_systemd, _)| !of_systemd);
    for (_, path) in paths {
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        if placement.unit.is_none() {
            placement.unit = path.rsplit('/').find(|part| is_unit(part)).map(|part| unescape_cgroup(part).to_owned());
        }
        if placement.container.is_none()
            && let Some(container) = parse_container(path)
        {
            placement.container = Some(container.id);
            placement.runtime = container.runtime;
        }
        if placement.pod.is_none() {
            placement.pod = parse_pod(path);
        }
    }
    placement
}

/// The path of a line, and whether its hierarchy is one that systemd keeps.
fn parse_line(line: &str) -> Option<(bool, &str)> {
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    Some(((id == "0" && controllers.is_empty()) || controllers == "name=systemd", path))
}

/// Whether the directory is that of a unit with processes. Slices only group others.
fn is_unit(part: &str) -> bool {
    let suffixes = [".service", ".scope", ".socket", ".mount", ".swap"];
    suffixes.iter().any(|suffix| part.len() > suffix.len() && part.ends_with(suffix))
}

/// Undoes what systemd does to a unit whose name would clash with a file of the kernel (`cg_escape`).
fn unescape_cgroup(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

/// What a path says of a container.
#[derive(Debug, PartialEq, Eq)]
struct Container {
    id: String,
    runtime: Option<ContainerRuntime>,
}

fn parse_container(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (0..parts.len()).rev().find_map(|index| {
        let above = index.checked_sub(1).map(|above| parts[above]);
        container_of(parts[index], above)
    })
}

/// The container that this directory stands for, seen together with the directory above it.
fn container_of(part: &str, above: Option<&str>) -> Option<Container> {
    let container = |id: &str, runtime| Some(Container { id: id.to_owned(), runtime });
    if let Some((word, id)) = long_id_of(part) {
        return container(id, runtime_of(word).or_else(|| runtime_of(above?)));
    }
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return container(name, Some(ContainerRuntime::Lxc));
    }
    if matches!(above, Some("lxc" | "lxc.payload")) {
        return container(part, Some(ContainerRuntime::Lxc));
    }
    let machine = part
        .strip_prefix("systemd-nspawn@")
        .and_then(|rest| rest.strip_suffix(".service"))
        .or_else(|| part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope")))?;
    let name = unescape_unit(machine);
    // A virtual machine registers itself in the same way, and its sockets are the host's.
    if name.starts_with("qemu-") { None } else { container(&name, Some(ContainerRuntime::Nspawn)) }
}

/// The 64 hexadecimal digits that docker, containerd, CRI-O and podman name containers by: alone, or after the
/// runtime's own word (`docker-ID.scope`, `slice:cri-containerd:ID`). `conmon` only watches a container from outside.
fn long_id_of(part: &str) -> Option<(&str, &str)> {
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    let (word, id) = stem.rsplit_once(['-', ':']).unwrap_or(("", stem));
    let is_id = id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && !word.ends_with("conmon")).then_some((word, id))
}

/// The runtime that this word before an id, or this directory above one, is of.
fn runtime_of(word: &str) -> Option<ContainerRuntime> {
    match word.rsplit(':').next()? {
        "docker" => Some(ContainerRuntime::Docker),
        // The name of a containerd namespace is the directory above (`ctr`, and the kubelet's `k8s.io`).
        "cri-containerd" | "nerdctl" | "containerd" | "k8s.io" => Some(ContainerRuntime::Containerd),
        "crio" | "cri-o" => Some(ContainerRuntime::CriO),
        "libpod" | "libpod-payload" | "libpod_parent" => Some(ContainerRuntime::Podman),
        _ => None,
    }
}

/// The uid of the pod: `pod` and the uid below `kubepods`, or the same in the name of a slice, where hyphens would mean
/// slices above and are written as underscores. Of a static pod it is 32 digits without hyphens.
fn parse_pod(path: &str) -> Option<String> {
    let mut below_kubepods = false;
    let mut found = None;
    for part in path.split(['/', ':']) {
        let stem = part.strip_suffix(".slice").unwrap_or(part);
        let in_name = stem.contains("kubepods").then(|| stem.rsplit_once("-pod").map(|(_, uid)| uid)).flatten();
        let in_place = if below_kubepods { stem.strip_prefix("pod") } else { None };
        let is_uid = |uid: &&str| {
            !uid.is_empty() && uid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-' | b'_'))
        };
        found = in_name.or(in_place).filter(is_uid).map(|uid| uid.replace('_', "-")).or(found);
        below_kubepods |= stem.contains("kubepods");
    }
    found
}

/// A name as it was before systemd wrote it into the name of a unit: `\x2d` is a hyphen (systemd.unit(5)).
fn unescape_unit(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.strip_prefix(b"x").and_then(|after| after.get(..2));
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                rest = &after[3..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4c01db0b339c4b8a9c8d1e0f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d";

    const UID: &str = "1a2b3c4d-0102-4a5b-8c9d-00aa11bb22cc";

    /// The text of a cgroup file (`ID` stands for 64 digits, `UID` for that of a pod, `U_D` for the same with underscores),
    /// the unit, the container.
    type Row = (&'static str, Option<&'static str>, Option<&'static str>);

    const UNITS: &[Row] = &[
        ("0::/system.slice/telegraf.service\n", Some("telegraf.service"), None),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", Some("session-3.scope"), None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service\n", Some("foo.service"), None),
        ("0::/user.slice/user-0.slice/user@0.service/init.scope\n", Some("init.scope"), None),
        ("0::/system.slice/system-getty.slice/foo@bar.service\n", Some("foo@bar.service"), None),
        (
            "0::/system.slice/system-openvpn\\x2dserver.slice/openvpn-server@a\\x2db.service\n",
            Some("openvpn-server@a\\x2db.service"),
            None,
        ),
        ("0::/system.slice/_cpu.service\n", Some("cpu.service"), None),
        ("0::/system.slice/web.service/worker:1/x (deleted)\n", Some("web.service"), None),
        ("0::/../../system.slice/web.service\n", Some("web.service"), None),
        ("0::/init.scope\n", Some("init.scope"), None),
        ("0::/\n", None, None),
        ("0::/system.slice/.service\n", None, None),
        (
            "12:pids:/user.slice/user-0.slice\n3:cpu,cpuacct:/\n1:name=systemd:/system.slice/sshd.service\n",
            Some("sshd.service"),
            None,
        ),
        (
            "4:memory:/system.slice/a.service\n1:name=systemd:/system.slice/b.service\n0::/system.slice/b.service\n",
            Some("b.service"),
            None,
        ),
        ("", None, None),
        ("nonsense\n0:\n", None, None),
    ];

    const CONTAINERS: &[(Option<ContainerRuntime>, &[Row])] = &[
        // With the drivers systemd and cgroupfs; a systemd inside of a container; rootless; below Kubernetes.
        (
            Some(ContainerRuntime::Docker),
            &[
                ("0::/system.slice/docker-ID.scope\n", Some("docker-ID.scope"), Some("ID")),
                ("0::/docker/ID\n", None, Some("ID")),
                (
                    "11:memory:/docker/ID\n1:name=systemd:/docker/ID\n0::/system.slice/containerd.service\n",
                    Some("containerd.service"),
                    Some("ID"),
                ),
                ("0::/system.slice/docker-ID.scope/system.slice/nginx.service\n", Some("nginx.service"), Some("ID")),
                (
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope\n",
                    Some("docker-ID.scope"),
                    Some("ID"),
                ),
                ("0::/kubepods.slice/kubepods-podU_D.slice/docker-ID.scope\n", Some("docker-ID.scope"), Some("ID")),
            ],
        ),
        // Below Kubernetes, with both drivers and with the two of them at odds; nerdctl; ctr.
        (
            Some(ContainerRuntime::Containerd),
            &[
                (
                    "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/cri-containerd-ID.scope\n",
                    Some("cri-containerd-ID.scope"),
                    Some("ID"),
                ),
                (
                    "0::/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID\n",
                    Some("containerd.service"),
                    Some("ID"),
                ),
                ("0::/system.slice/nerdctl-ID.scope\n", Some("nerdctl-ID.scope"), Some("ID")),
                ("0::/k8s.io/ID\n", None, Some("ID")),
            ],
        ),
        // And its watcher.
        (
            Some(ContainerRuntime::CriO),
            &[(
                "0::/kubepods.slice/kubepods-podU_D.slice/crio-ID.scope/container\n",
                Some("crio-ID.scope"),
                Some("ID"),
            )],
        ),
        (
            None,
            &[("0::/kubepods.slice/kubepods-podU_D.slice/crio-conmon-ID.scope\n", Some("crio-conmon-ID.scope"), None)],
        ),
        // Root, rootless, in a unit of its own, without systemd, and its watcher.
        (
            Some(ContainerRuntime::Podman),
            &[
                ("0::/machine.slice/libpod-ID.scope/container\n", Some("libpod-ID.scope"), Some("ID")),
                (
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container\n",
                    Some("libpod-ID.scope"),
                    Some("ID"),
                ),
                ("0::/system.slice/web.service/libpod-payload-ID\n", Some("web.service"), Some("ID")),
                ("0::/libpod_parent/libpod-ID/container\n", None, Some("ID")),
            ],
        ),
        (None, &[("0::/machine.slice/libpod-conmon-ID.scope\n", Some("libpod-conmon-ID.scope"), None)]),
        // Versions 2 and 4, Proxmox, and its watcher.
        (
            Some(ContainerRuntime::Lxc),
            &[
                ("0::/lxc/web\n", None, Some("web")),
                ("0::/lxc/101/ns/system.slice/nginx.service\n", Some("nginx.service"), Some("101")),
                ("0::/lxc.payload.web-1/init.scope\n", Some("init.scope"), Some("web-1")),
                ("0::/lxc.payload/web\n", None, Some("web")),
            ],
        ),
        (None, &[("0::/lxc.monitor.web-1\n", None, None)]),
        // A virtual machine is no container.
        (
            Some(ContainerRuntime::Nspawn),
            &[
                ("0::/machine.slice/machine-web\\x2d1.scope\n", Some("machine-web\\x2d1.scope"), Some("web-1")),
                (
                    "0::/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service\n",
                    Some("nginx.service"),
                    Some("web"),
                ),
            ],
        ),
        (
            None,
            &[(
                "0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator\n",
                Some("machine-qemu\\x2d1\\x2dvm.scope"),
                None,
            )],
        ),
        // The id alone, as the kubelet and Amazon ECS have it.
        (
            None,
            &[
                (
                    "4:memory:/kubepods/besteffort/podUID/ID\n1:name=systemd:/kubepods/besteffort/podUID/ID\n",
                    None,
                    Some("ID"),
                ),
                ("0::/ecs/0b69d5c0d655/ID\n", None, Some("ID")),
            ],
        ),
        // Not an identifier: too short, capital letters.
        (
            None,
            &[
                ("0::/docker/4c01db0b339c\n", None, None),
                ("0::/docker/4C01DB0B339C4B8A9C8D1E0F2A3B4C5D6E7F8091A2B3C4D5E6F708192A3B4C5D\n", None, None),
            ],
        ),
    ];

    const PODS: &[(&str, Option<&str>)] = &[
        // The driver systemd, of each class of service; inside of kind; at odds with containerd.
        ("0::/kubepods.slice/kubepods-podU_D.slice/cri-containerd-ID.scope\n", Some("UID")),
        ("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/crio-ID.scope\n", Some("UID")),
        (
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
             kubelet-kubepods-besteffort-podU_D.slice/cri-containerd-ID.scope\n",
            Some("UID"),
        ),
        ("0::/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID\n", Some("UID")),
        // The driver cgroupfs, versions 1 and 2, and a host with both.
        ("11:memory:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID\n", Some("UID")),
        ("0::/kubepods/podUID/ID\n", Some("UID")),
        (
            "4:memory:/kubepods/podUID/ID\n1:name=systemd:/kubepods/podUID/ID\n0::/system.slice/kubelet.service\n",
            Some("UID"),
        ),
        // A static pod, and the sandbox of a pod seen from inside of its cgroup namespace.
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123456789abcdef0123456789abcdef.slice\n",
            Some("0123456789abcdef0123456789abcdef"),
        ),
        ("0::/../cri-containerd-ID.scope\n", None),
        // No pods.
        ("0::/kubepods.slice/kubepods-burstable.slice\n", None),
        ("0::/machine.slice/libpod-ID.scope/container\n", None),
        ("0::/system.slice/podman.service\n", None),
        ("0::/user/podcast\n", None),
    ];

    fn filled(text: &str) -> String {
        text.replace("UID", UID).replace("U_D", &UID.replace('-', "_")).replace("ID", ID)
    }

    #[test]
    fn every_recorded_path_names_its_unit_and_container() {
        let units = UNITS.iter().map(|row| (&None, row));
        let containers = CONTAINERS.iter().flat_map(|(runtime, rows)| rows.iter().map(move |row| (runtime, row)));
        for (runtime, (text, unit, container)) in units.chain(containers) {
            let seen = parse_placement(&filled(text));
            let expected = (unit.map(filled), container.map(filled), *runtime);
            assert_eq!((seen.unit, seen.container, seen.runtime), expected, "{text}");
        }
    }

    #[test]
    fn every_recorded_path_names_its_pod() {
        for (text, pod) in PODS {
            assert_eq!(parse_placement(&filled(text)).pod, pod.map(filled), "{text}");
        }
    }

    #[test]
    fn only_whole_escapes_are_undone() {
        assert_eq!(unescape_unit("a\\x2db\\x5cc"), "a-b\\c");
        assert_eq!(unescape_unit("\\x2\\xzz\\"), "\\x2\\xzz\\");
    }
}
