//! One container of a pod: its component, environment, resources and probes.

use super::{env, file_volume, pod, probe, service};
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, bytes, choice, cpu_millis, dns_label, located, located_string, map,
    port, quantity, steps,
};
use crate::model::{
    Container, ContainerPort, HttpGet, PortReference, Probe, ProbeHandler, PullPolicy,
    ResourceList, ResourceRequirements, SubPath, VolumeMount,
};
use crate::yaml::{Mark, Node};

const NOT_HONOURED: &[&str] = &[
    "resizePolicy",
    "restartPolicy",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
];

/// Fields of a container's `securityContext` that have no meaning for a component.
const SECURITY_NOT_HONOURED: &[&str] = &[
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "privileged",
    "procMount",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
    "windowsOptions",
];

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<Container> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located(dns_label));
    let image = fields.required("image", image);
    let image_pull_policy = fields.optional("imagePullPolicy", pull_policy);
    let mut arguments = fields.optional("command", pod::words).unwrap_or_default();
    arguments.extend(fields.optional("args", pod::words).unwrap_or_default());
    let working_dir = fields.optional("workingDir", |d, node| {
        absolute_path(d, node).map(|path| path.value)
    });
    let ports = fields.list("ports", container_port);
    let env = fields.list("env", env::variable);
    let env_from = fields.list("envFrom", env::source);
    let volume_mounts = fields.list("volumeMounts", volume_mount);
    let resources = fields.optional("resources", resources).unwrap_or_default();
    let startup_probe = fields.optional("startupProbe", probe::liveness);
    let liveness_probe = fields.optional("livenessProbe", probe::liveness);
    let readiness_probe = fields.optional("readinessProbe", probe::readiness);
    let pre_stop = fields.optional("lifecycle", probe::pre_stop).flatten();
    let read_only_root = fields.optional("securityContext", read_only_root);
    fields.finish(NOT_HONOURED);
    env::check_names(d, node);
    check_mounts(d, &volume_mounts);
    check_port_names(d, node, &ports);
    let probes = [
        ("startupProbe", &startup_probe),
        ("livenessProbe", &liveness_probe),
        ("readinessProbe", &readiness_probe),
    ];
    for (field, probe) in probes {
        if let Some(probe) = probe {
            d.under(field, |d| {
                check_probe_port(d, node.get(field).unwrap_or(node), probe, &ports);
            });
        }
    }
    Some(Container {
        at: d.position(node.mark),
        name: name?,
        image: image?,
        image_pull_policy,
        arguments,
        working_dir,
        read_only_root: read_only_root.unwrap_or(false),
        ports,
        env,
        env_from,
        volume_mounts,
        resources,
        startup_probe,
        liveness_probe,
        readiness_probe,
        pre_stop,
    })
}

/// `readOnlyRootFilesystem` of a `securityContext`.
fn read_only_root(d: &mut Decoder, node: &Node) -> Option<bool> {
    let mut fields = Fields::of(d, node)?;
    let read_only = fields.optional("readOnlyRootFilesystem", boolean);
    fields.finish(SECURITY_NOT_HONOURED);
    read_only
}

fn image(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    let image = located_string(d, node)?;
    if image.chars().any(char::is_whitespace) {
        let shown = d.show(&image);
        d.error(
            node.mark,
            codes::INVALID_VALUE,
            format!("{shown} contains a space"),
        );
        return None;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    if !last.contains('@') && matches!(tag, None | Some("latest")) {
        let message = "names no version; give it a tag, so that the running version can be identified and rolled back";
        d.note(node.mark, codes::IMAGE_TAG, message);
    }
    Some(image)
}

fn pull_policy(d: &mut Decoder, node: &Node) -> Option<PullPolicy> {
    let policies = [
        ("Always", PullPolicy::Always),
        ("IfNotPresent", PullPolicy::IfNotPresent),
        ("Never", PullPolicy::Never),
    ];
    choice(d, node, "a pull policy", &policies)
}

fn container_port(d: &mut Decoder, node: &Node) -> Option<ContainerPort> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.optional("name", service::container_port_name);
    let container_port = fields.required("containerPort", port);
    let protocol = fields.optional("protocol", |d, node| {
        choice(
            d,
            node,
            "a protocol",
            &[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")],
        )
    });
    if let Some(other @ ("UDP" | "SCTP")) = protocol {
        let message = format!("{other} is not served by this host; components speak HTTP");
        fields.warn_at("protocol", codes::NOT_HONOURED, message);
    }
    fields.finish(&["hostIP", "hostPort"]);
    Some(ContainerPort {
        name,
        container_port: container_port?,
    })
}

pub(super) fn volume_mount(d: &mut Decoder, node: &Node) -> Option<VolumeMount> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located_string);
    let mount_path = fields.required("mountPath", |d, node| {
        let path = absolute_path(d, node)?;
        if path.contains(':') {
            let message = format!("{} must not contain `:`", d.show(&path));
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(path)
    });
    let plain = fields.optional("subPath", file_volume::path_below);
    let expression = fields.optional("subPathExpr", |d, node| {
        let path = file_volume::path_below(d, node)?;
        Some(d.locate(path, node))
    });
    if fields.has("subPath") && fields.has("subPathExpr") {
        let message = "`subPath` and `subPathExpr` are mutually exclusive; keep one".to_owned();
        fields.error_at("subPathExpr", codes::EXCLUSIVE_FIELDS, message);
    }
    let sub_path = plain
        .map(SubPath::Plain)
        .or(expression.map(SubPath::Expression));
    let read_only = fields.optional("readOnly", boolean).unwrap_or(false);
    fields.finish(&["mountPropagation", "recursiveReadOnly"]);
    Some(VolumeMount {
        name: name?,
        mount_path: mount_path?,
        sub_path,
        read_only,
    })
}

/// An absolute path without `..` and without a trailing `/`.
fn absolute_path(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    let path = located_string(d, node)?;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let shown = d.show(&path);
        let message = format!("{shown} is not an absolute path without `..`");
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Some(WithPosition::new(format!("/{}", parts.join("/")), path.at))
}

fn check_mounts(d: &mut Decoder, mounts: &[VolumeMount]) {
    for (index, mount) in mounts.iter().enumerate() {
        if mounts[..index]
            .iter()
            .any(|earlier| earlier.mount_path == mount.mount_path)
        {
            let message = format!("two volumes are mounted at `{}`", mount.mount_path);
            let mark = Mark::from(&mount.mount_path.at);
            d.within(steps!["volumeMounts", index, "mountPath"], |d| {
                d.error(mark, codes::DUPLICATE_NAME, message);
            });
        }
    }
}

fn check_port_names(d: &mut Decoder, node: &Node, ports: &[ContainerPort]) {
    for (index, port) in ports.iter().enumerate() {
        let Some(name) = &port.name else { continue };
        let mut earlier = ports[..index].iter();
        if earlier.any(|other| other.name.as_ref() == Some(name)) {
            let message = format!("the port name `{name}` is listed twice");
            d.within(steps!["ports", index, "name"], |d| {
                d.error(node.mark, codes::DUPLICATE_NAME, message);
            });
        }
    }
}

fn resources(d: &mut Decoder, node: &Node) -> Option<ResourceRequirements> {
    let mut fields = Fields::of(d, node)?;
    let requests = fields
        .optional("requests", resource_list)
        .unwrap_or_default();
    let limits = fields.optional("limits", resource_list).unwrap_or_default();
    let pairs = [
        ("cpu", requests.cpu_millis, limits.cpu_millis),
        ("memory", requests.memory, limits.memory),
        (
            "ephemeral-storage",
            requests.ephemeral_storage,
            limits.ephemeral_storage,
        ),
    ];
    for (name, request, limit) in pairs {
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            let message = format!("the request of {name} is above its limit");
            fields.error_at("requests", codes::INVALID_VALUE, message);
        }
    }
    fields.finish(&["claims"]);
    Some(ResourceRequirements { requests, limits })
}

fn resource_list(d: &mut Decoder, node: &Node) -> Option<ResourceList> {
    let mut list = ResourceList::default();
    map(d, node, |d, name, value| {
        match name {
            "cpu" => list.cpu_millis = cpu_millis(d, value),
            "memory" => list.memory = bytes(d, value),
            "ephemeral-storage" => list.ephemeral_storage = bytes(d, value),
            other => {
                quantity(d, value);
                let known = ["cpu", "memory", "ephemeral-storage"];
                let hint = crate::decode::did_you_mean(other, known.into_iter());
                let message = format!("this resource is not supported by this host{hint}");
                d.warning(value.mark, codes::NOT_HONOURED, message);
            }
        }
        Some(())
    })?;
    Some(list)
}

/// A port by name must be one of the container's. By number it should be one.
fn check_probe_port(d: &mut Decoder, node: &Node, probe: &Probe, ports: &[ContainerPort]) {
    let (handler, port) = match &probe.handler {
        ProbeHandler::HttpGet(HttpGet { port, .. }) => ("httpGet", port),
        ProbeHandler::TcpSocket { port } => ("tcpSocket", port),
        ProbeHandler::Grpc { port, .. } => ("grpc", &PortReference::Number(*port)),
    };
    let name = match port {
        PortReference::Name(name) => name,
        PortReference::Number(number) => {
            return check_port_number(d, node, handler, *number, ports);
        }
    };
    let names = || ports.iter().filter_map(|port| port.name.as_deref());
    if names().any(|known| known == name) {
        return;
    }
    let at = node
        .get(handler)
        .and_then(|handler| handler.get("port"))
        .unwrap_or(node);
    let hint = crate::decode::did_you_mean(name, names());
    let message = format!("the container has no port named `{name}`{hint}");
    d.within(steps![handler, "port"], |d| {
        d.error(at.mark, codes::SERVICE_PORT, message);
    });
}

/// A component serves every port, unlike a container elsewhere.
fn check_port_number(
    d: &mut Decoder,
    node: &Node,
    handler: &'static str,
    number: u16,
    ports: &[ContainerPort],
) {
    let declared = |port: &ContainerPort| port.container_port == number;
    if ports.is_empty() || ports.iter().any(declared) {
        return;
    }
    let outcome = match handler {
        "tcpSocket" => "so this probe fails",
        _ => "but the component still answers the probe",
    };
    let message = format!("the container declares no port {number}, {outcome}");
    let at = node.get(handler).and_then(|handler| handler.get("port"));
    d.within(steps![handler, "port"], |d| {
        d.warning(at.unwrap_or(node).mark, codes::SERVICE_PORT, message);
    });
}
