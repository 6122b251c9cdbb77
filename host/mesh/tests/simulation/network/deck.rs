//! The policies of the training deck, as they are written.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use galleria_manifest::model::Labels;
use galleria_mesh::Workload;
use galleria_mesh::inbound::Peer;

use super::Cluster;

/// `db` and `frontend` in `sigma`, and `worker` in a namespace of the project.
fn cluster(file: &str) -> Cluster {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/deck");
    let text = fs::read_to_string(folder.join(file)).expect("a file of the deck");
    let namespace = "apiVersion: v1\nkind: Namespace\n\
                     metadata: {name: other, labels: {project: myproject}}\n---\n";
    let workload = |namespace: &str, role: &str| {
        let labels = Labels::from([("role".to_owned(), role.to_owned())]);
        Arc::new(Workload::new(namespace, role, "default", labels))
    };
    let workloads = vec![
        workload("sigma", "db"),
        workload("sigma", "frontend"),
        workload("sigma", "backend"),
        workload("other", "worker"),
        workload("third", "stranger"),
    ];
    Cluster::new(&format!("{namespace}{text}"), workloads)
}

#[test]
fn listings_of_the_deck_work_as_written() {
    let (all, none) = (
        "other/worker sigma/backend sigma/db sigma/frontend third/stranger",
        "",
    );
    let outside = "other/worker third/stranger";
    for (file, to, port, expected) in [
        ("networkpolicy-ingress-deny-all.yaml", "sigma/db", 80, none),
        (
            "networkpolicy-ingress-deny-all.yaml",
            "other/worker",
            80,
            all,
        ),
        ("networkpolicy-ingress-allow-all.yaml", "sigma/db", 80, all),
        (
            "networkpolicy-ingress-allow-all.yaml",
            "other/worker",
            80,
            all,
        ),
        (
            "networkpolicy-egress-deny-all.yaml",
            "sigma/db",
            80,
            outside,
        ),
        (
            "networkpolicy-egress-deny-all.yaml",
            "third/stranger",
            80,
            outside,
        ),
        ("networkpolicy-egress-allow-all.yaml", "sigma/db", 80, all),
        (
            "networkpolicy-egress-allow-all.yaml",
            "third/stranger",
            80,
            all,
        ),
        (
            "networkpolicy-test.yaml",
            "sigma/db",
            6379,
            "other/worker sigma/frontend",
        ),
        ("networkpolicy-test.yaml", "sigma/db", 80, none),
        (
            "networkpolicy-test.yaml",
            "sigma/frontend",
            6379,
            "other/worker sigma/backend sigma/frontend third/stranger",
        ),
    ] {
        let sources = cluster(file).sources(to, port);
        let sources: Vec<_> = sources.iter().map(String::as_str).collect();
        assert_eq!(sources.join(" "), expected, "{file}: {to}:{port}");
    }
}

#[test]
fn address_blocks_of_the_deck_are_for_clients_and_servers_outside() {
    let cluster = cluster("networkpolicy-test.yaml");
    for (ip, expected) in [
        ("172.17.0.9", true),
        ("172.17.1.9", false),
        ("172.18.0.9", false),
    ] {
        let client = Peer::Client {
            listener_port: 80,
            ip: ip.parse().expect("an address"),
        };
        let accepted = cluster.accepts(&client, "sigma/db", 6379).is_ok();
        assert_eq!(accepted, expected, "{ip}");
    }
    let policies = cluster
        .snapshot
        .network_policies(cluster.workload("sigma/db"));
    for (ip, port, expected) in [
        ("10.0.0.9", 5978, true),
        ("10.0.0.9", 80, false),
        ("10.0.1.9", 5978, false),
    ] {
        let address = ip.parse().expect("an address");
        assert_eq!(
            policies.egress_allows(address, port),
            expected,
            "{ip}:{port}"
        );
    }
}
