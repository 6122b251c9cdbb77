//! Every attribute that a span can have. No other file contains attribute names. HTTP,
//! database and RPC names are OpenTelemetry's semantic conventions; names without a dot
//! or with `istio.` are those of Envoy and Istio.

/// A name and the meaning of its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute {
    pub name: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the document"))]
    pub meaning: &'static str,
}

macro_rules! attributes {
    ($($constant:ident = $name:literal, $meaning:literal;)*) => {
        $(pub(crate) const $constant: Attribute = Attribute { name: $name, meaning: $meaning };)*

        /// All attributes, in the order of the document.
        #[cfg(test)]
        pub(crate) const ALL: &[Attribute] = &[$($constant),*];
    };
}

attributes! {
    HTTP_METHOD = "http.request.method", "the request's method";
    HTTP_STATUS = "http.response.status_code", "the response's status; absent if the caller disconnected before";
    HTTP_ROUTE = "http.route", "the name of the rule that matched the request";
    HTTP_RESEND_COUNT = "http.request.resend_count", "attempts before this one; absent for the first";
    URL_SCHEME = "url.scheme", "`http` or `https`";
    URL_PATH = "url.path", "the path, without its query";
    URL_QUERY = "url.query", "the query, if there is one";
    URL_FULL = "url.full", "the URL requested from the endpoint, without its query";
    PROTOCOL_VERSION = "network.protocol.version", "`1.0`, `1.1` or `2`, of the caller's connection";
    SERVER_ADDRESS = "server.address", "the addressed host; for an attempt, the endpoint: `namespace/pod` here, a host elsewhere; for a statement, the database's host";
    CLIENT_ADDRESS = "client.address", "the client's address";
    USER_AGENT = "user_agent.original", "the client's `user-agent`";
    ERROR_TYPE = "error.type", "why it failed: a status from 500, a response flag, or the reason of the failure";
    RPC_SYSTEM = "rpc.system", "`grpc`, of gRPC calls";
    RPC_SERVICE = "rpc.service", "the gRPC service";
    RPC_METHOD = "rpc.method", "the gRPC method";
    DB_SYSTEM = "db.system.name", "`sqlite` or `postgresql`";
    DB_OPERATION = "db.operation.name", "the statement's first word: `SELECT`";
    DB_COLLECTION = "db.collection.name", "the statement's table, if it is unambiguous";
    DB_SUMMARY = "db.query.summary", "operation and table; never values";
    REQUEST_ID = "guid:x-request-id", "the `x-request-id`, the same at every hop";
    RESPONSE_FLAGS = "response_flags", "Envoy's flags, as in the access log";
    UPSTREAM_CLUSTER = "upstream_cluster", "the destination, as Envoy names it: `outbound|PORT|SUBSET|HOST`";
    DESTINATION_SERVICE = "destination.service", "the destination's full name";
    DESTINATION_WORKLOAD = "destination.workload", "the workload that responded";
    DESTINATION_NAMESPACE = "destination.namespace", "its namespace";
    ATTEMPTS = "galleria.attempts", "number of attempts of the call";
    POD = "k8s.pod.name", "the pod that serves, or the pod of a Job";
    CANONICAL_SERVICE = "istio.canonical_service", "the workload's label `app`, or its name";
    CANONICAL_REVISION = "istio.canonical_revision", "its label `version`, or `latest`";
    ISTIO_NAMESPACE = "istio.namespace", "its namespace";
    MESH_ID = "istio.mesh_id", "the trust domain";
    CLUSTER_ID = "istio.cluster_id", "`Kubernetes`";
    SOURCE = "galleria.source", "what was read: `manifests`, or `objects from the API`";
    RESULT = "galleria.result", "what became of it: see the span's meaning; absent if it failed";
    WRITER = "galleria.writer", "`api`, `canary` or `autoscaler`";
    VERB = "galleria.verb", "the verb of a write, as in Kubernetes' audit log: `create`, `update`, `patch`, `delete`, `deletecollection`";
    DRY_RUN = "galleria.dry_run", "`true`, if a write is only checked";
    OBJECT_KIND = "galleria.object.kind", "the kind of the written object; an autoscaler's write can have several, separated by commas";
    OBJECT_NAME = "galleria.object.name", "its name";
    NAMESPACE = "k8s.namespace.name", "the namespace of the written object, the Deployment or the Job";
    DEPLOYMENT = "k8s.deployment.name", "the Deployment that is rolled out";
    REVISION = "galleria.revision", "its new revision: the pods' label `pod-template-hash`";
    JOB_NAME = "k8s.job.name", "the Job";
    EXIT_CODE = "process.exit.code", "the exit code of the Job's pod; of the last run if it was restarted";
    IMAGE = "container.image.name", "the image, as in the manifest";
    DIGEST = "oci.manifest.digest", "the digest of the image's manifest";
    BYTES = "galleria.bytes", "the size of the pulled component";
}
