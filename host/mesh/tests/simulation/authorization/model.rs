//! Random policies and requests: the mesh against a naive evaluator.

use std::path::Path;

use proptest::prelude::*;

use super::naive::is_allowed;
use super::random::{request, spec};
use super::{Asked, mesh, policy};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn mesh_decides_as_the_reference(
        specs in prop::collection::vec(spec(), 1..4),
        requests in prop::collection::vec(request(), 20),
    ) {
        let yaml: String = specs
            .iter()
            .enumerate()
            .map(|(number, spec)| policy("shop", &format!("p{number}"), spec))
            .collect();
        let loaded = galleria_manifest::read_str(Path::new("test.yaml"), &yaml);
        let policies: Vec<_> = loaded.objects.iter().map(|it| it.raw["spec"].clone()).collect();
        let world = mesh(&yaml);
        for request in requests {
            let asked = Asked::parse(&request).behind_the_gateway();
            let allowed = world.ask("shop/app", &request) == "allow";
            prop_assert_eq!(allowed, is_allowed(&policies, &asked), "{}\n{}", yaml, request);
        }
    }
}
