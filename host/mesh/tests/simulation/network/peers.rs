//! Peers that are not workloads of this host, and what a denial says.

use std::net::IpAddr;
use std::sync::Arc;

use galleria_manifest::model::Labels;
use galleria_mesh::Workload;
use galleria_mesh::inbound::network::decide;
use galleria_mesh::inbound::{Peer, WorkloadIdentity};

use super::{Cluster, policy};

fn ingress(from: &str) -> Cluster {
    let spec = format!("{{podSelector: {{}}, ingress: [{{from: {from}}}]}}");
    Cluster::of_nine(&policy("x", "only", &spec))
}

fn client(ip: &str) -> Peer {
    Peer::Client {
        listener_port: 80,
        ip: ip.parse().expect("an address"),
    }
}

#[test]
fn client_is_its_address_and_the_gateway() {
    let gateway = "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: istio-system}}";
    let with_pods =
        format!("[{gateway}, podSelector: {{matchLabels: {{istio: ingressgateway}}}}}}]");
    let other_pods =
        format!("[{gateway}, podSelector: {{matchLabels: {{istio: egressgateway}}}}}}]");
    let whole = format!("[{gateway}}}]");
    for (from, ip, expected) in [
        ("[{ipBlock: {cidr: 192.0.2.0/24}}]", "192.0.2.7", true),
        ("[{ipBlock: {cidr: 192.0.2.0/24}}]", "198.51.100.7", false),
        (
            "[{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/29]}}]",
            "192.0.2.7",
            false,
        ),
        (
            "[{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/29]}}]",
            "192.0.2.8",
            true,
        ),
        ("[{ipBlock: {cidr: 192.0.2.9/24}}]", "192.0.2.7", true),
        ("[{ipBlock: {cidr: 192.0.2.7/32}}]", "192.0.2.7", true),
        (
            "[{ipBlock: {cidr: 192.0.2.0/24}}]",
            "::ffff:192.0.2.7",
            true,
        ),
        ("[{ipBlock: {cidr: 0.0.0.0/0}}]", "2001:db8::7", false),
        ("[{ipBlock: {cidr: '::/0'}}]", "192.0.2.7", false),
        ("[{ipBlock: {cidr: '2001:db8::/32'}}]", "2001:db8::7", true),
        ("[{podSelector: {}}]", "192.0.2.7", false),
        ("[{namespaceSelector: {}}]", "192.0.2.7", true),
        (
            "[{namespaceSelector: {matchLabels: {ns: y}}}]",
            "192.0.2.7",
            false,
        ),
        (&whole, "192.0.2.7", true),
        (&with_pods, "192.0.2.7", true),
        (&other_pods, "192.0.2.7", false),
        ("[]", "192.0.2.7", true),
    ] {
        let accepted = ingress(from).accepts(&client(ip), "x/a", 80).is_ok();
        assert_eq!(accepted, expected, "{ip} by {from}");
    }
}

#[test]
fn selector_does_not_match_what_is_unknown() {
    let named = Peer::Named(WorkloadIdentity {
        namespace: "y".to_owned(),
        name: "elsewhere".to_owned(),
        service_account: "default".to_owned(),
    });
    for (from, of_named, of_unknown) in [
        ("[]", true, true),
        ("[{namespaceSelector: {}}]", true, false),
        ("[{namespaceSelector: {matchLabels: {ns: y}}}]", true, false),
        (
            "[{namespaceSelector: {matchLabels: {ns: x}}}]",
            false,
            false,
        ),
        ("[{namespaceSelector: {}, podSelector: {}}]", true, false),
        (
            "[{namespaceSelector: {}, podSelector: {matchLabels: {pod: a}}}]",
            false,
            false,
        ),
        (
            "[{namespaceSelector: {}, podSelector: {matchExpressions: [{key: pod, operator: DoesNotExist}]}}]",
            false,
            false,
        ),
        ("[{podSelector: {}}]", false, false),
        (
            "[{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: '::/0'}}]",
            false,
            false,
        ),
    ] {
        let cluster = ingress(from);
        let accepts = |peer| cluster.accepts(peer, "x/a", 80).is_ok();
        let sidecar = Peer::of_account("y", "default");
        assert_eq!(accepts(&named), of_named, "a named workload by {from}");
        assert_eq!(accepts(&sidecar), of_named, "a sidecar by {from}");
        assert_eq!(
            accepts(&Peer::Unknown),
            of_unknown,
            "an unknown one by {from}"
        );
    }
}

#[test]
fn workload_without_pods_is_governed_too() {
    let spec = "{podSelector: {matchLabels: {job: report}}, policyTypes: [Egress]}";
    let cluster = Cluster::of_nine(&policy("x", "jobs", spec));
    let labels = Labels::from([("job".to_owned(), "report".to_owned())]);
    let job = Arc::new(Workload::new("x", "report", "default", labels));
    let policies = cluster.snapshot.network_policies(&job);
    assert!(policies.egress(cluster.workload("x/a"), 80).is_err());
}

#[test]
fn blocks_decide_about_addresses_outside() {
    let spec = "{podSelector: {}, policyTypes: [Egress], egress: [
        {to: [{ipBlock: {cidr: 10.0.0.0/24}}, {podSelector: {}}], ports: [{port: 5978}]},
        {to: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.7/32]}}]},
        {ports: [{port: 443}, {port: serve-80}]}]}";
    let cluster = Cluster::of_nine(&policy("x", "out", spec));
    let policies = cluster.snapshot.network_policies(cluster.workload("x/a"));
    for (ip, port, expected) in [
        ("10.0.0.9", 5978, true),
        ("10.0.0.9", 80, false),
        ("10.0.1.9", 5978, false),
        ("198.51.100.8", 5978, true),
        ("198.51.100.7", 80, false),
        ("198.51.100.8", 80, true),
        ("203.0.113.1", 443, true),
        ("203.0.113.1", 80, false),
        ("2001:db8::1", 443, true),
        ("2001:db8::1", 5978, false),
    ] {
        let address: IpAddr = ip.parse().expect("an address");
        assert_eq!(
            policies.egress_allows(address, port),
            expected,
            "{ip}:{port}"
        );
    }
    let open = cluster.snapshot.network_policies(cluster.workload("y/a"));
    assert!(!open.governs_egress() && open.egress_blocks(80).is_none());
}

#[test]
fn policy_can_select_the_gateway() {
    let spec = "{podSelector: {matchLabels: {istio: ingressgateway}}, policyTypes: [Egress], \
                egress: [{to: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}";
    let cluster = Cluster::of_nine(&policy("istio-system", "gateway", spec));
    let policies = cluster.snapshot.gateway_network_policies();
    assert!(policies.egress(cluster.workload("x/a"), 80).is_ok());
    let denial = policies.egress(cluster.workload("y/a"), 80);
    let denial = denial.expect_err("it is denied");
    assert_eq!(
        denial.message,
        "no egress rule of NetworkPolicy istio-system/gateway allows \
         istio-system/istio-ingressgateway to connect to y/a on port 80"
    );
}

#[test]
fn gateway_knows_clients_by_their_addresses_only() {
    for (rule, port, expected) in [
        ("{}", 80, true),
        ("{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}", 80, true),
        ("{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}", 80, false),
        ("{from: [{namespaceSelector: {}}]}", 80, false),
        ("{from: [{podSelector: {}}]}", 80, false),
        ("{ports: [{port: 80}]}", 80, true),
        ("{ports: [{port: 8080}]}", 80, true),
        ("{ports: [{port: 8443}]}", 443, true),
        ("{ports: [{port: 8443}]}", 80, false),
        ("{ports: [{port: 8080}]}", 8080, true),
        ("{ports: [{port: 9443}]}", 1443, false),
    ] {
        let spec = format!("{{podSelector: {{}}, ingress: [{rule}]}}");
        let cluster = Cluster::of_nine(&policy("istio-system", "gateway", &spec));
        let policies = cluster.snapshot.gateway_network_policies();
        let client = "192.0.2.7".parse().expect("an address");
        assert_eq!(
            policies.client(client, port).is_ok(),
            expected,
            "{port} by {rule}"
        );
    }
}

#[test]
fn caller_without_a_name_is_its_address() {
    let address = "192.0.2.7".parse().expect("an address");
    for (from, expected) in [
        ("[{ipBlock: {cidr: 192.0.2.0/24}}]", true),
        ("[{ipBlock: {cidr: 198.51.100.0/24}}]", false),
        ("[{namespaceSelector: {}}]", false),
        ("[]", true),
    ] {
        let cluster = ingress(from);
        let destination = cluster.workload("x/a");
        let policies = cluster.snapshot.inbound_policies(destination);
        let policies = policies.expect("a policy governs it");
        let decided = decide(policies, destination, 80, &Peer::Unknown, Some(address));
        assert_eq!(decided.is_ok(), expected, "{from}");
    }
}

#[test]
fn denial_names_the_policies_and_both_ends() {
    let names = ["one", "two", "three", "four", "five"];
    let yaml = names.map(|name| policy("x", name, "{podSelector: {}}"));
    let cluster = Cluster::of_nine(&yaml.concat());
    let denial = cluster
        .accepts(&client("192.0.2.7"), "x/a", 80)
        .expect_err("it is denied");
    assert_eq!(denial.reply.status, 503);
    assert_eq!(denial.reply.flags.to_string(), "UF");
    assert_eq!(
        denial.reply.details,
        "network_policy_denied{ingress:x/one,x/two,x/three,+2}"
    );
    assert_eq!(
        denial.message,
        "no ingress rule of NetworkPolicy x/one,x/two,x/three,+2 allows client 192.0.2.7 to \
         connect to x/a on port 80"
    );
    assert_eq!(denial.policy.qualified_name(), "x/one");
}
