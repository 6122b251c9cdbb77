//! `docs/COMPATIBILITY.md`, generated from the table of kinds and from the differences to an API
//! server that are accepted. The test fails when the document differs; with `UPDATE_DOCS=1` it
//! writes it.

use std::fmt::Write;
use std::path::Path;

use super::{Kind, all};
use crate::Unenforced;

const OPENING: &str = "\
# Compatibility

The kinds of objects that a host knows, in manifests and in the admin API. This page is
generated from the code (`UPDATE_DOCS=1 cargo test -p galleria-manifest document`). Which
fields have an effect is in [CONFIG.md](CONFIG.md), what kubectl can do with an object in
[KUBECTL.md](KUBECTL.md).
";

const ENFORCED: &str = "\
Manifests may have these kinds in every version below. Of the old versions, the admin API serves
`apps/v1beta2`, `apps/v1beta1`, `batch/v1beta1`, `extensions/v1beta1` and `policy/v1beta1`, with
their defaults. Every object is shown in each version that is served, whatever it was written
in. Kinds without a resource name can only be in manifests.
";

const STORED: &str = "\
Manifests and clients can write these objects, and clients can read them. The host does not act
on them: custom resources are not served, every claim is a folder whatever its class, and the two
tokens of the host decide who may use the admin API, not roles.
";

const MADE_BY_HOST: &str = "\
The host creates these objects, and clients can only read them. In a manifest they are left
to the cluster.
";

const LEFT: &str = "\
A manifest may have objects of these kinds, in any version. `galleria check` notes that the
host does not act on them. The same holds for kinds of all other groups.
";

const RESTRICTIONS: &str = "\
These kinds forbid something in a cluster, and the host allows it. With an object of them,
`galleria check` fails and the host does not start, unless `--allow-unenforced` has the name
of the kind. Then `galleria check` and `galleria status` warn about each object.
";

const UNENFORCED: &str = "\
The same holds for these fields and annotations. A kind whose name is not unique has the name
of its group added.
";

const API: &str = "\
## The Kubernetes API

The admin API answers as kube-apiserver does, which continuous integration compares with the
same requests ([CONFORMANCE.md](CONFORMANCE.md)). These differences stay.

| difference | reason |
| --- | --- |
";

/// The accepted differences of that comparison.
const ACCEPTED: &str = "../../conformance/cluster/table/accepted.yaml";

const HTTP: &str = "\
## HTTP

The same holds for HTTP/1.1 and HTTP/2, for clients, for guests and between hosts.

| subject | what the host does |
| --- | --- |
| responses to HEAD, and with 204, 304 or 1xx | without content; 204 has no `content-length`; 1xx as the only response is 502 UPE |
| fields of a client's request | 64 KiB and 100 fields, as Envoy's defaults; more get 431, and other requests on the connection continue. More than about 300 KiB in HTTP/2 end the connection |
| fields between hosts, in both directions | 256 KiB; a guest may send 128 KiB |
| `grpc-timeout` | limits the call, together with the route's timeout; the callee gets what is left of it |
| `te` | only `trailers` is forwarded, to guests and over HTTP/2; over HTTP/1.1 nothing is |
| `cookie` in several fields | joined with `; ` |
| `x-forwarded-for`, `forwarded`, `tracestate`, `baggage` in several fields | one list |
| `Host` | 400 if it is missing, repeated or, in HTTP/2, differs from `:authority`. Envoy ignores it there |
| `transfer-encoding` | `chunked`; with another coding before it 501, and without it at the end 400 |
| `\"`, `<` and `>` in a query | different: they must be percent-encoded; HTTP/1.1 gets 400, and in HTTP/2 the stream is reset. Envoy forwards them as they are |
| `Expect: 100-continue` | HTTP/1.1 clients get 100 when the service reads the body. Different: HTTP/2 clients get none, and send the body after the time that they wait for it (RFC 9110 §10.1.1) |
| `x-forwarded-host` of a client | removed unless proxies are trusted; Envoy forwards it |
| proxies in front of the gateway | `--num-trusted-proxies`, or `defaultConfig.gatewayTopology.numTrustedProxies` of MeshConfig. Different: the annotation `proxy.istio.io/config` of a gateway's pods is not read, since the host is the gateway |
| PROXY protocol, versions 1 and 2 | `--proxy-protocol PORT`, or `gatewayTopology.proxyProtocol` in MeshConfig or in the annotation `proxy.istio.io/config` of a Gateway |
| requests that are refused | in the access log, with DPE; a malformed HTTP/2 request, which has no response, is not |
| trace context | `traceparent` of later versions too; of its flags, only the one for sampling. `b3` and `x-b3-…` with a decision alone |
";

const NAMES: &str = "\
## Names

The names and addresses by which a workload calls another one.

| name | what the host does |
| --- | --- |
| a pod of a headless Service: `POD.SERVICE` in its namespace, `POD.SERVICE.NAMESPACE`, `….svc`, `….svc.cluster.local` | that pod, where its Service is visible. The VirtualService of the Service applies; a destination that is the Service itself is the pod, whatever its subset |
| `clusterIP` and `clusterIPs` of a Service | the Service, with its VirtualService |
| an ExternalName | the service that it refers to, on that service's ports, also through further ExternalNames; else the name outside, on every port |
| a ServiceEntry with `workloadSelector` | the pods of its namespace with these labels, instead of `endpoints`. Empty labels select nothing |
| `useSourceIp` | the address of the client, or of the calling pod |
";

const SUBSTITUTIONS: &str = "\
## Substitutions in headers

Values in `headers` of a VirtualService can have Envoy's substitutions, such as
`%REQ(x-user?x-id):8%`; `%%` is the sign itself. What Envoy refuses is an error of
`galleria check`. A value that turns out empty is not written. Header modifiers of the Gateway
API have none, and neither has `host`.

| substitution | value |
| --- | --- |
| `REQ`, `RESP`, `PATH`, `QUERY_PARAM` | as in Envoy: in requests before the rewrite, in responses after it |
| `PROTOCOL`, `ROUTE_NAME`, `UPSTREAM_CLUSTER`, `DOWNSTREAM_LOCAL_PORT` | as in Envoy |
| `RESPONSE_CODE`, `RESPONSE_FLAGS` | 0 and `-` in requests, direct responses and redirects |
| `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT` | the client, or the calling pod; the variant with `DIRECT` is the same |
| `START_TIME`, `TRACE_ID` | of forwarded requests and their responses; the time is that of the routing |
| all others of Envoy | empty, with a warning of `galleria check` |
";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable is for the developer, not for the host"
)]
fn document_lists_every_kind() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/COMPATIBILITY.md");
    let generated = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &generated).expect("the document can be written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == generated,
        "docs/COMPATIBILITY.md is out of date: run \
         `UPDATE_DOCS=1 cargo test -p galleria-manifest document`"
    );
}

fn document() -> String {
    let mut text = OPENING.to_owned();
    known(&mut text, "Enforced", ENFORCED, Kind::is_enforced);
    known(&mut text, "Stored and shown", STORED, Kind::is_only_stored);
    known(
        &mut text,
        "Created by the host",
        MADE_BY_HOST,
        Kind::is_made_by_host,
    );
    let is_restriction = Kind::is_unenforced_restriction;
    left(&mut text, "Left to the cluster", LEFT, |kind| {
        let is_read = kind.is_enforced() || kind.is_made_by_host() || kind.is_only_stored();
        !is_read && !is_restriction(kind)
    });
    left(
        &mut text,
        "Restrictions that are not enforced",
        RESTRICTIONS,
        is_restriction,
    );
    unenforced(&mut text);
    let _ = write!(text, "\n{API}");
    for it in accepted().as_array().into_iter().flatten() {
        let cell = |field: &str| it[field].as_str().unwrap_or_default().trim().to_owned();
        let _ = writeln!(text, "| {} | {} |", cell("difference"), cell("reason"));
    }
    let _ = write!(text, "\n{HTTP}\n{NAMES}\n{SUBSTITUTIONS}");
    text
}

fn accepted() -> serde_json::Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(ACCEPTED);
    let text = std::fs::read_to_string(file).expect("the list of accepted differences");
    crate::yaml_to_json(&text).expect("a list in YAML")
}

/// The names that `--allow-unenforced` takes besides those of kinds.
fn unenforced(text: &mut String) {
    let is_kind = |name: &str| {
        all()
            .iter()
            .any(|row| row.restriction().is_some_and(|it| it.name() == name))
    };
    let _ = write!(text, "\n{UNENFORCED}\n");
    for name in Unenforced::all().map(Unenforced::name) {
        let of_group = name
            .split_once('.')
            .is_some_and(|(kind, _)| is_kind(name) && kind != name);
        if of_group || !is_kind(name) {
            let _ = writeln!(text, "- `{name}`");
        }
    }
}

/// A section with the names and versions of the kinds that `is_listed` selects.
fn known(text: &mut String, title: &str, opening: &str, is_listed: fn(&Kind) -> bool) {
    let _ = write!(
        text,
        "\n## {title}\n\n{opening}\n\
         | kind | scope | resource | short names | apiVersions | old apiVersions |\n\
         | --- | --- | --- | --- | --- | --- |\n"
    );
    for kind in all().iter().filter(|kind| is_listed(kind)) {
        let current = kind.api_versions().take(kind.versions.len());
        let cells = [
            kind.kind.to_owned(),
            if kind.namespaced {
                "namespace"
            } else {
                "cluster"
            }
            .to_owned(),
            code([kind.resource()].into_iter().filter(|_| kind.is_served())),
            code(kind.short_names.iter()),
            code(current),
            code(kind.old_api_versions.iter()),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

/// A section with the kinds that `is_listed` selects, in a row for each group.
fn left(text: &mut String, title: &str, opening: &str, is_listed: impl Fn(&Kind) -> bool) {
    let _ = write!(
        text,
        "\n## {title}\n\n{opening}\n| group | kinds |\n| --- | --- |\n"
    );
    let listed: Vec<_> = all().iter().filter(|kind| is_listed(kind)).collect();
    for group in listed.chunk_by(|a, b| a.group == b.group) {
        let kinds: Vec<_> = group.iter().map(|kind| kind.kind).collect();
        let name = group.first().map_or("", |kind| kind.group);
        let name = if name.is_empty() { "core" } else { name };
        let _ = writeln!(text, "| {name} | {} |", kinds.join(", "));
    }
}

fn code(names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
