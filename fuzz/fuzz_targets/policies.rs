//! Random authorization policies and requests, of which the input is the seed: the mesh allows
//! what a naive evaluator of the reference allows. Both are those of the mesh's own tests.

#![no_main]

#[path = "../../host/mesh/tests/simulation/authorization/asked.rs"]
mod asked;
#[path = "../../host/mesh/tests/simulation/authorization/naive.rs"]
mod naive;
#[path = "../../host/mesh/tests/simulation/authorization/random.rs"]
mod random;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use asked::Asked;
use galleria_manifest::model::Labels;
use galleria_mesh::{Location, Options, Pod, State, Workload, compile};
use libfuzzer_sys::fuzz_target;
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fuzz_target!(|bytes: &[u8]| {
    // With the bytes as the random numbers themselves, a sample without repetition does not
    // end when they do.
    let mut seed = [0; 32];
    for (byte, given) in seed.iter_mut().zip(bytes) {
        *byte = *given;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let case = (vec(random::spec(), 1..4), vec(random::request(), 8));
    let Ok(tree) = case.new_tree(&mut runner) else {
        return;
    };
    let (specs, requests) = tree.current();
    let specs = specs.iter().enumerate();
    let yaml: String = specs.map(|(number, spec)| policy(number, spec)).collect();
    let loaded = galleria_manifest::read_str(Path::new("policies.yaml"), &yaml);
    assert!(!loaded.has_errors(), "{yaml}");
    let objects = loaded.objects.iter();
    let policies: Vec<_> = objects.map(|it| it.raw["spec"].clone()).collect();

    let workload = Arc::new(Workload::new("shop", "app", "app", Labels::new()));
    let state = State::new(Instant::now());
    let pods = [pod(&workload)];
    let snapshot = compile(&loaded.objects, &pods, &Options::default(), &state).snapshot;
    for request in requests {
        let asked = Asked::parse(&request).behind_the_gateway();
        let compiled = snapshot.inbound_policies(&workload);
        let is_allowed = asked.answer(compiled, &workload) == "allow";
        let expected = naive::is_allowed(&policies, &asked);
        assert_eq!(is_allowed, expected, "{yaml}{request}");
    }
});

fn policy(number: usize, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: \
         {{name: p{number}, namespace: shop}}\nspec: {spec}\n"
    )
}

fn pod(workload: &Arc<Workload>) -> Pod {
    Pod {
        name: "app-0".into(),
        workload: workload.clone(),
        labels: Labels::new(),
        ports: Vec::new(),
        ready: Arc::new(AtomicBool::new(true)),
        location: Location::Here(0),
    }
}
