//! Tests of `deploy/compose`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Stack, eventually, get, post, printed, smoke};

/// Services whose image defines a health check.
const CHECKED_BY_IMAGE: [&str; 3] = ["galleria", "stable", "canary"];
/// Services whose images have no program for a health check.
const UNCHECKED: [&str; 2] = ["otel-collector", "tempo"];

#[test]
fn compose_files_pin_images_and_restrict_every_service() {
    let stack = Stack::of(&[
        "compose.yaml",
        "compose.observability.yaml",
        "compose.canary.yaml",
    ]);
    let files = printed(&mut stack.compose(["config"]));
    let services = services(&files);
    assert_eq!(services.len(), 8, "{files}");
    for (name, service) in services {
        for wanted in [
            "read_only: true",
            "cap_drop:\n    - ALL",
            "no-new-privileges:true",
            "mem_limit:",
            "pids_limit:",
            "restart: unless-stopped",
            "max-size: 10m",
        ] {
            assert!(service.contains(wanted), "{name}: {wanted}\n{service}");
        }
        assert!(!service.contains("privileged: true"), "{name}\n{service}");
        let image = service.split("\n    image: ").nth(1).expect("an image");
        let image = image.lines().next().unwrap_or_default();
        let (path, tag) = image.split_once(':').expect("a tag");
        let versions = |c: char| c.is_ascii_digit() || c == '.';
        let version = tag.trim_start_matches('v').split('-').next().unwrap_or("");
        assert!(
            version.contains('.') && version.chars().all(versions),
            "{image}"
        );
        assert!(!path.contains('.'), "{image} names a registry");
        let checked = service.contains("healthcheck:") || CHECKED_BY_IMAGE.contains(&name);
        assert_ne!(checked, UNCHECKED.contains(&name), "{name}");
        for line in service.lines().filter(|line| line.contains("PASSWORD")) {
            assert!(line.contains(": /run/secrets/"), "{name}: {line}");
        }
    }
}

#[test]
fn prometheus_accepts_the_configuration_and_the_rules_of_the_compose_files() {
    let stack = Stack::of(&["compose.yaml", "compose.observability.yaml"]);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/rules.yaml");
    let observability = stack.folder().join("observability");
    // In one folder, as they are mounted.
    printed(Command::new("cp").arg(rules).arg(&observability));
    let mut check = Command::new("promtool");
    check.current_dir(&observability);
    let said = printed(check.args(["check", "config", "prometheus.yaml"]));
    assert!(said.contains("rules found"), "{said}");
}

/// The services in the output of `docker-compose config`, by name.
fn services(files: &str) -> Vec<(&str, &str)> {
    let (_, services) = files.split_once("\nservices:\n").expect("services");
    let end = services.find("\nversion:").unwrap_or(services.len());
    let mut found = Vec::new();
    let mut rest = &services[..end];
    while let Some((name, after)) = rest.trim_start().split_once(":\n") {
        let is_next = |at: &(usize, &str)| !after[at.0 + 1..].starts_with("   ");
        let end = after.match_indices("\n  ").find(is_next);
        let end = end.map_or(after.len(), |(at, _)| at);
        found.push((name, &after[..end]));
        rest = &after[end..];
    }
    found
}

#[test]
fn secrets_are_created_once_and_are_readable_only_by_their_owner() {
    let stack = Stack::of(&["compose.yaml"]);
    let read = || {
        let mut read = Command::new("sh");
        read.current_dir(stack.folder());
        printed(read.args(["-c", "stat --format=%a secrets; cat secrets/*"]))
    };
    let before = read();
    assert!(before.starts_with("700\n"), "{before}");
    printed(&mut Command::new(stack.folder().join("secrets.sh")));
    assert_eq!(read(), before);
}

#[test]
fn compose_stack_passes_the_smoke_test_and_survives_a_restart_of_its_database() {
    let stack = Stack::up(&["compose.yaml"]);
    stack.healthy();
    let shop = stack.gateway();
    smoke(shop, 20);

    let stored = std::thread::scope(|scope| {
        let storing = scope.spawn(|| store_until_it_fails(shop));
        eventually("twenty products are stored", || {
            (names(shop)
                .iter()
                .filter(|it| it.starts_with("lamp"))
                .count()
                >= 20)
                .then_some(())
        });
        printed(&mut stack.compose(["kill", "postgresql"]));
        storing.join().expect("the names")
    });

    eventually("readiness follows", || {
        (stack.check("galleria").code == Some(1)).then_some(())
    });
    let away = get(shop, "/productms/product/catalogue").expect("an answer");
    assert_eq!(away.status, 503, "{}", away.body);
    printed(&mut stack.compose(["up", "--detach"]));
    stack.healthy();
    let found = names(shop);
    let lost: Vec<_> = stored.iter().filter(|it| !found.contains(it)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    smoke(shop, 20);
}

/// The names of the products that the shop acknowledged.
fn store_until_it_fails(shop: SocketAddr) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let name = format!("lamp {}", names.len());
        let product = json!({"category": "6", "name": name, "description": "", "price": 1});
        let answer = post(shop, "/productms/product/", &product.to_string());
        if answer.is_none_or(|answer| answer.status != 201) {
            return names;
        }
        names.push(name);
    }
}

fn names(shop: SocketAddr) -> Vec<String> {
    let answer = get(shop, "/productms/product/catalogue").expect("an answer");
    let answer = answer.json();
    let products = answer["response"].as_array();
    let name = |product: &Value| product["name"].as_str().unwrap_or_default().to_owned();
    products.into_iter().flatten().map(name).collect()
}

#[test]
fn canary_gets_its_share_and_is_rolled_back() {
    const REQUESTS: usize = 2000;
    let stack = Stack::up(&["compose.yaml", "compose.canary.yaml"]);
    stack.healthy();
    let shop = stack.gateway();
    smoke(shop, 20);
    let from_canary = |requests: usize| {
        let release = |_| {
            let answer = get(shop, "/productms/product/catalogue/3").expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.header("x-release").to_owned()
        };
        let releases: Vec<_> = (0..requests).map(release).collect();
        assert!(releases.iter().all(|it| it == "stable" || it == "canary"));
        releases.iter().filter(|it| *it == "canary").count()
    };

    // A tenth, within four standard deviations of a fair draw.
    let share = from_canary(REQUESTS);
    assert!((146..=254).contains(&share), "{share} of {REQUESTS}");
    assert!(stack.calls("canary").len() >= share);

    stack.edit("canary/release.yaml", |weights| {
        let all = weights.replace("weight: 90", "weight: 100");
        all.replace("weight: 10\n", "weight: 0\n")
    });
    eventually("the canary is rolled back", || {
        (from_canary(100) == 0).then_some(())
    });
    assert_eq!(from_canary(500), 0);
}
