//! Ingress, in its current form and the one before it.

use super::pod::words;
use crate::Unenforced;
use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, dns_name, located_string, non_empty, port, port_reference, steps,
    string,
};
use crate::model::{
    Ingress, IngressBackend, IngressPath, IngressRule, IngressTls, PathType, PortReference,
    Resource,
};
use crate::unenforced::parts;
use crate::yaml::{Node, Value};

const CLASS: &str = "kubernetes.io/ingress.class";
const REWRITE: &str = "nginx.ingress.kubernetes.io/rewrite-target";

/// Annotations of common controllers that affect requests and have no effect here. Those that
/// only configure the load balancer of a cloud are not listed.
const NOT_HONOURED: &[&str] = &[
    "nginx.ingress.kubernetes.io/use-regex",
    "nginx.ingress.kubernetes.io/app-root",
    "nginx.ingress.kubernetes.io/canary",
    "nginx.ingress.kubernetes.io/canary-weight",
    "nginx.ingress.kubernetes.io/canary-by-header",
    "nginx.ingress.kubernetes.io/canary-by-cookie",
    "nginx.ingress.kubernetes.io/enable-cors",
    "nginx.ingress.kubernetes.io/proxy-read-timeout",
    "nginx.ingress.kubernetes.io/proxy-body-size",
    "nginx.ingress.kubernetes.io/permanent-redirect",
    "nginx.ingress.kubernetes.io/temporal-redirect",
    "nginx.ingress.kubernetes.io/upstream-vhost",
    "nginx.ingress.kubernetes.io/backend-protocol",
    "nginx.ingress.kubernetes.io/affinity",
    "alb.ingress.kubernetes.io/listen-ports",
];

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let annotations = fields
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    let text = |name: &str| {
        let value = annotations.and_then(|annotations| annotations.get(name));
        value.and_then(Node::as_text).map(str::to_owned)
    };
    let (class, rewrite_target) = (text(CLASS), text(REWRITE));
    if let Some(annotations) = annotations {
        unhonoured_annotations(fields.d, annotations);
    }
    let ingress = fields.required("spec", |d, node| spec(d, node, class, rewrite_target));
    fields.finish(&[]);
    ingress.map(Resource::Ingress)
}

fn unhonoured_annotations(d: &mut Decoder, annotations: &Node) {
    let Value::Mapping(entries) = &annotations.value else {
        return;
    };
    for entry in entries {
        let is_off = matches!(entry.value.as_text(), Some("false" | "none" | "off"));
        if is_off {
            continue;
        }
        let message = "this annotation is not supported by this host; it has no effect";
        let key = entry.key.as_str();
        let restriction = parts::ANNOTATIONS.iter().find(|name| **name == key);
        d.within(steps!["metadata", "annotations", entry.key.clone()], |d| {
            if let Some(name) = restriction {
                d.unenforced(entry.key_mark, Unenforced::new(name), message);
            } else if NOT_HONOURED.contains(&key) {
                d.warning(entry.key_mark, codes::NOT_HONOURED, message);
            }
        });
    }
}

fn spec(
    d: &mut Decoder,
    node: &Node,
    class: Option<String>,
    rewrite_target: Option<String>,
) -> Option<Ingress> {
    let mut spec = Fields::of(d, node)?;
    let named = spec.optional("ingressClassName", non_empty);
    let old_backend = spec.optional("backend", backend);
    let default_backend = spec.optional("defaultBackend", backend).or(old_backend);
    let rules = spec.list("rules", rule);
    let tls = spec.list("tls", tls);
    if !["rules", "defaultBackend", "backend"]
        .iter()
        .any(|field| spec.has(field))
    {
        spec.missing("rules");
    }
    spec.finish(&[]);
    Some(Ingress {
        ingress_class: named.or(class),
        default_backend,
        rules,
        tls,
        rewrite_target,
    })
}

fn rule(d: &mut Decoder, node: &Node) -> Option<IngressRule> {
    let mut fields = Fields::of(d, node)?;
    let host = fields.optional("host", |d, node| {
        let host = dns_name(d, node)?;
        if host.value == "*" {
            let message = "leave `host` out to take every host";
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(host)
    });
    let paths = fields.optional("http", |d, node| {
        let mut http = Fields::of(d, node)?;
        let paths = http.required_list("paths", path);
        http.finish(&[]);
        paths
    });
    fields.finish(&[]);
    Some(IngressRule {
        host,
        paths: paths.unwrap_or_default(),
    })
}

fn path(d: &mut Decoder, node: &Node) -> Option<IngressPath> {
    let mut fields = Fields::of(d, node)?;
    let path = fields.optional("path", |d, node| {
        let path = string(d, node)?;
        if !path.is_empty() && !path.starts_with('/') {
            let shown = d.show(&path);
            let message = format!("{shown} is not an absolute path; begin it with `/`");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(path)
    });
    let path_type = fields.optional("pathType", |d, node| {
        let types = [
            ("Exact", PathType::Exact),
            ("Prefix", PathType::Prefix),
            ("ImplementationSpecific", PathType::ImplementationSpecific),
        ];
        choice(d, node, "a path type", &types)
    });
    if fields.d.api_version() == "networking.k8s.io/v1" && !fields.has("pathType") {
        let message = "a cluster requires `pathType` here; it is treated as `Prefix`";
        let mark = fields.mark;
        fields.d.warning(mark, codes::MISSING_FIELD, message);
    }
    let backend = fields.required("backend", backend);
    fields.finish(&[]);
    Some(IngressPath {
        at: d.position(node.mark),
        path: path
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "/".to_owned()),
        path_type: path_type.unwrap_or(PathType::ImplementationSpecific),
        backend: backend?,
    })
}

/// `service: {name, port}`, or `serviceName` and `servicePort` of the old apiVersions.
fn backend(d: &mut Decoder, node: &Node) -> Option<IngressBackend> {
    let mut fields = Fields::of(d, node)?;
    let is_v1 = fields.d.api_version() == "networking.k8s.io/v1";
    let backend = if is_v1 {
        for (old, new) in [
            ("serviceName", "service.name"),
            ("servicePort", "service.port.number"),
        ] {
            if fields.has(old) {
                fields.ignore(&[old]);
                let message =
                    format!("belongs to the old apiVersions; networking.k8s.io/v1 has `{new}`");
                fields.error_at(old, codes::UNKNOWN_FIELD, message);
            }
        }
        if fields.has("resource") {
            None
        } else {
            fields.required("service", service)
        }
    } else {
        if fields.has("service") {
            fields.ignore(&["service"]);
            let message =
                "belongs to networking.k8s.io/v1; this apiVersion has serviceName, servicePort";
            fields.error_at("service", codes::UNKNOWN_FIELD, message.to_owned());
        }
        let name = fields.required("serviceName", located_string);
        let port = fields.required("servicePort", port_reference);
        name.zip(port)
            .map(|(service_name, service_port)| IngressBackend {
                service_name,
                service_port,
            })
    };
    if fields.has("resource") {
        fields.ignore(&["resource"]);
        let message =
            "a resource as a backend is not served by this host; use `service`".to_owned();
        fields.error_at("resource", codes::NOT_HONOURED, message);
    }
    fields.finish(&[]);
    backend
}

fn service(d: &mut Decoder, node: &Node) -> Option<IngressBackend> {
    let mut fields = Fields::of(d, node)?;
    let service_name = fields.required("name", located_string);
    let service_port = fields.required("port", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let number = fields.optional("number", port).map(PortReference::Number);
        let name = fields.optional("name", non_empty).map(PortReference::Name);
        if fields.has("number") == fields.has("name") {
            let message = "a port needs exactly one of number, name";
            let mark = fields.mark;
            fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
        }
        fields.finish(&[]);
        number.or(name)
    });
    fields.finish(&[]);
    Some(IngressBackend {
        service_name: service_name?,
        service_port: service_port?,
    })
}

fn tls(d: &mut Decoder, node: &Node) -> Option<IngressTls> {
    let mut fields = Fields::of(d, node)?;
    let hosts = fields.optional("hosts", words).unwrap_or_default();
    let secret_name = fields.optional("secretName", located_string);
    if secret_name.is_none() {
        let message = "without `secretName` there is no certificate, so these hosts are served over HTTP only";
        let mark = fields.mark;
        fields.d.warning(mark, codes::TLS_NOT_SERVED, message);
    }
    fields.finish(&[]);
    Some(IngressTls {
        at: d.position(node.mark),
        hosts,
        secret_name,
    })
}
