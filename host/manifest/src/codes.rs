//! Every code of a diagnostic, with its meaning in one line.
//!
//! If Istio's analyzers have a code for a problem, it is used, so that their documentation
//! applies here too. `GAL…` codes are our own. A code never changes its meaning; new codes
//! are added at the end.

use crate::Code;

macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: Code = $code;)*

        /// The whole table: code and meaning.
        pub const ALL: &[(Code, &str)] = &[$(($code, $meaning)),*];
    };
}

codes! {
    DEPRECATED = "IST0002", "a field or form that Istio has removed or deprecated; still supported";
    NOT_FOUND = "IST0101", "a resource that is referred to does not exist";
    SCHEMA = "IST0106", "a field of an Istio resource is missing, unknown or wrong";
    CONFLICTING_HOSTS = "IST0109", "two VirtualServices claim the same host on the same gateway";
    PORT_SELECTOR_REQUIRED = "IST0112", "the destination has several ports and the route does not say which";
    PORT_NAME = "IST0118", "the port's name does not say its protocol";
    NO_MATCHING_WORKLOADS = "IST0127", "a policy selects no workload";
    NO_SERVER_VERIFICATION = "IST0128", "a DestinationRule with TLS names no authorities for the server";
    NO_SERVER_VERIFICATION_OF_PORT = "IST0129", "a port of a DestinationRule with TLS names no authorities for the server";
    UNREACHABLE_RULE = "IST0130", "a rule can never match, because an earlier one matches everything it would";
    INEFFECTIVE_MATCH = "IST0131", "a match has no effect, because an earlier one of the same kind is wider";
    HOST_NOT_IN_GATEWAY = "IST0132", "no server of the gateway serves the VirtualService's host";
    SCHEMA_WARNING = "IST0133", "a field of an Istio resource is odd, but accepted";
    ADDRESSES_REQUIRED = "IST0134", "a port of a ServiceEntry without HTTP needs addresses";
    SHARED_CERTIFICATE = "IST0138", "two Gateways have the same certificate";
    SUBSET_NOT_AT_GATEWAY = "IST0140", "a subset of the mesh has no effect on requests of a gateway";
    CONFLICTING_GATEWAYS = "IST0145", "two gateway servers claim the same port and host";
    EXTERNAL_NAME_PORT = "IST0150", "the port's name of an ExternalName Service does not say HTTP or TLS";
    GATEWAY_CREDENTIAL = "IST0161", "the certificate secret of a gateway server is unusable";
    GATEWAY_PORT_NOT_IN_SERVICE = "IST0162", "no Service before the pods of a gateway has the port of a server";
    SUBSET_SELECTS_NO_PODS = "IST0173", "no workload carries the labels of a subset";
    UNKNOWN_DESTINATION_HOST = "IST0174", "a DestinationRule's host is neither a Service nor a ServiceEntry";
    CONFLICTING_PROTOCOLS = "IST0177", "two ServiceEntries give a port of one host different protocols";

    FILE_UNREADABLE = "GAL0001", "a file or folder cannot be read";
    SYNTAX = "GAL0002", "the text is not YAML";
    LIMIT = "GAL0003", "a limit of the reader is exceeded";
    DUPLICATE_KEY = "GAL0004", "a key occurs twice in one mapping";
    NOT_AN_OBJECT = "GAL0005", "the document is not a Kubernetes object";
    KIND = "GAL0006", "the kind does not exist, but one with a similar name does";
    API_VERSION = "GAL0007", "the kind is known, but not in this apiVersion";
    KIND_NOT_ENFORCED = "GAL0008", "the host does not act on this kind; a cluster does";
    REPLACED = "GAL0009", "a later object of the same kind, namespace and name replaces this one";
    NAME = "GAL0010", "a name is missing or not valid in Kubernetes";
    MISSING_FIELD = "GAL0011", "a required field is missing";
    WRONG_TYPE = "GAL0012", "a value does not have the type of its field";
    INVALID_VALUE = "GAL0013", "a value is out of the range of its field";
    UNKNOWN_FIELD = "GAL0014", "the API has no field of this name; it is ignored";
    NOT_HONOURED = "GAL0015", "the API has this field, but the host does not act on it";
    AMBIGUOUS_SCALAR = "GAL0016", "a cluster reads this plain value as another type; it needs quotes";
    EXCLUSIVE_FIELDS = "GAL0017", "mutually exclusive fields are both set";
    WEIGHTS = "GAL0018", "the weights of a rule do not have a useful sum";
    SELECTOR = "GAL0019", "a workload's selector does not select its own pods";
    CONTAINERS = "GAL0020", "the host runs one container, a component, in each pod";
    NO_SHELL = "GAL0021", "a component has no shell and no other programs to execute";
    IMAGE_TAG = "GAL0022", "the image names no version";
    DUPLICATE_NAME = "GAL0023", "two entries of a list have the same name";
    VOLUME = "GAL0024", "a mount names a volume that the pod does not declare, or a volume is not served here";
    BASE64 = "GAL0025", "a value that must be base64 is not";
    TLS_NOT_SERVED = "GAL0026", "the TLS side of a gateway server is not served";
    CONFIG_REFERENCE = "GAL0027", "a ConfigMap, a Secret, a claim or a key of one is missing";
    SERVICE_SELECTS_NOTHING = "GAL0028", "no workload carries the labels that a Service selects";
    SERVICE_PORT = "GAL0029", "a port does not exist in its Service or container";
    SERVICE_ACCOUNT = "GAL0030", "the service account is not declared";
    NAMESPACE = "GAL0031", "the namespace is not declared";
    BACKEND = "GAL0032", "an Ingress refers to a Service that does not exist";
    NOTHING_TO_READ = "GAL0033", "there is no manifest where one was expected";
    PRESET = "GAL0034", "a PodPreset and a pod that it selects contradict each other";
    BUDGET_SELECTS_NOTHING = "GAL0035", "no workload carries the labels that a PodDisruptionBudget selects";
    SCALES_NOTHING = "GAL0036", "a HorizontalPodAutoscaler has nothing to scale, or nothing to measure";
    CANARY_SHIFTS_NOTHING = "GAL0037", "a Canary has no target, or no route that splits traffic between it and another version";
    RESTRICTION_NOT_ENFORCED = "GAL0038", "the object restricts something, and the host does not enforce it";
    POLICY_MATCHES_NOTHING = "GAL0039", "an authorization policy or one of its rules can never match a request";
    EXTENSION_PROVIDER = "GAL0041", "the service of external authorization that a policy names cannot be asked";
    NEVER_APPLIES = "GAL0042", "a match, a fault or a retry is written so that it can never apply";
    INVALID_REGEX = "GAL0043", "a regular expression does not compile; in Istio's kinds this is IST0106";
    GATEWAY_OF_OTHER_API = "GAL0044", "a VirtualService names a Gateway of the Gateway API";
    PLAN = "GAL0200", "the workload cannot be run: its image, its configuration or its volumes";
    DELEGATE_UNREACHABLE = "GAL0601", "a delegate's rule can never match";
    EJECTS_NOTHING = "GAL0602", "maxEjectionPercent is too small to eject anything";
    KEY_SET = "GAL0603", "no key of a JSON Web Key Set can verify a token";
    LEGACY_POLICY_REPLACED = "GAL0604", "a policy of the current API replaces one of Istio 1.2";
    LIMIT_RANGE = "GAL0701", "a container violates the LimitRange of its namespace";
    RESOURCE_QUOTA = "GAL0702", "objects exceed the ResourceQuota of their namespace";
    ENCRYPTED_VALUE = "GAL0901", "a value of a Secret is encrypted, and no key can decrypt it";
    POD_SECURITY = "GAL0902", "a pod does what the Pod Security Standard of its namespace forbids";
    GATEWAY_ELSEWHERE = "GAL0605", "a Gateway selects another gateway than that of this host";
    SIDECAR = "GAL0802", "a Sidecar selects no workload, or names a host that nothing declares";
    NETWORK_POLICY = "GAL0801", "a NetworkPolicy selects nothing, or a part of it can never match";
    BACKEND_PORT = "GAL0045", "an Ingress refers to a port that its Service does not have";
    UNKNOWN_CHOICE = "GAL0046", "a value is none of those that its field can have";
    EXPOSED_PORT = "GAL0606", "a port of a Service is not open to clients outside the mesh";
}
