//! ResourceQuota.

use crate::codes;
use crate::decode::{Decoder, Fields, map, near_quantity};
use crate::model::{Quantities, Resource, ResourceQuota};
use crate::yaml::Node;

/// Resources of pods, and kinds that are counted; `count/…` counts any kind.
const RESOURCES: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
];

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let quota = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let hard = spec.optional("hard", hard).unwrap_or_default();
        let is_scoped = ["scopes", "scopeSelector"].map(|name| {
            let has = spec.has(name);
            if has {
                let message = "is not supported by this host; this quota limits nothing here";
                spec.take(name);
                spec.warn_at(name, codes::NOT_HONOURED, message.to_owned());
            }
            has
        });
        spec.finish(&[]);
        Some(ResourceQuota {
            hard,
            is_scoped: is_scoped.contains(&true),
        })
    });
    fields.finish(&[]);
    Some(Resource::ResourceQuota(quota?))
}

fn hard(d: &mut Decoder, node: &Node) -> Option<Quantities> {
    let mut hard = Quantities::new();
    map(d, node, |d, name, value| {
        let quantity = near_quantity(d, value)?;
        if RESOURCES.contains(&name) || name.starts_with("count/") {
            hard.insert(name.to_owned(), quantity);
        } else {
            let hint = crate::decode::did_you_mean(name, RESOURCES.iter().copied());
            let message = format!("this resource is not supported by this host{hint}");
            d.warning(value.mark, codes::NOT_HONOURED, message);
        }
        Some(())
    })?;
    Some(hard)
}
