//! The `status` of claims and volumes: which claim is bound to which volume, as a cluster's
//! controller decides it: claims that name a volume first, then in the order of their names. The
//! data of every claim is in a folder of its own, so a claim without a volume is bound too.

use std::collections::BTreeMap;
use std::sync::Arc;

use galleria_manifest::model::{
    Object, ObjectKey, PersistentVolume, PersistentVolumeClaim, Resource,
};
use serde_json::{Value, json};

type Claims<'a> = BTreeMap<ObjectKey, (&'a Object, &'a PersistentVolumeClaim)>;

/// The status of each claim and volume among `objects`. The part `binding` of a status is what
/// the API shows in the `spec`.
pub(super) fn statuses(objects: &[Arc<Object>]) -> Vec<(ObjectKey, Value)> {
    let mut claims = Claims::new();
    let mut volumes = Vec::new();
    for object in objects {
        match &object.resource {
            Resource::PersistentVolumeClaim(claim) => {
                claims.insert(object.key(), (&**object, claim));
            }
            Resource::PersistentVolume(volume) => volumes.push((object, volume)),
            _ => {}
        }
    }
    // The smallest volume that fits is taken.
    volumes.sort_by_key(|(object, volume)| (volume.storage, object.key()));
    let mut free: Vec<_> = volumes
        .iter()
        .map(|(object, volume)| (*object, *volume))
        .collect();
    let mut statuses = Vec::new();
    let (named, others): (Vec<_>, Vec<_>) = claims
        .into_iter()
        .partition(|(_, (_, claim))| claim.volume_name.is_some());
    for (key, (object, claim)) in named.into_iter().chain(others) {
        let fitting = free
            .iter()
            .position(|(volume, spec)| fits(claim, volume, spec));
        let volume = fitting.map(|index| free.remove(index));
        let capacity = match volume {
            Some((volume, _)) => &volume.raw["spec"]["capacity"]["storage"],
            None => &object.raw["spec"]["resources"]["requests"]["storage"],
        };
        let mut status = json!({
            "phase": "Bound",
            "accessModes": object.raw["spec"]["accessModes"],
            "capacity": {"storage": capacity},
        });
        if let Some((volume, _)) = volume {
            status["binding"] = json!({"volumeName": volume.metadata.name.value});
            let claim = json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": key.namespace,
                "name": key.name,
            });
            let bound = json!({"phase": "Bound", "binding": {"claimRef": claim}});
            statuses.push((volume.key(), bound));
        }
        statuses.push((key, status));
    }
    let available = free
        .iter()
        .map(|(volume, _)| (volume.key(), json!({"phase": "Available"})));
    statuses.extend(available);
    statuses
}

fn fits(claim: &PersistentVolumeClaim, object: &Object, volume: &PersistentVolume) -> bool {
    let modes = &claim.access_modes;
    let is_named = |name: &String| *name == object.metadata.name.value;
    claim.volume_name.as_ref().is_none_or(is_named)
        && claim.storage_class == volume.storage_class
        && claim.storage <= volume.storage
        && modes.iter().all(|mode| volume.access_modes.contains(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(yaml: &str, kind: &str, name: &str) -> Value {
        let objects = galleria_manifest::read_str("test.yaml".as_ref(), yaml).objects;
        let statuses = statuses(&objects);
        let mut found = statuses
            .into_iter()
            .filter(|(key, _)| key.kind == kind && key.name == name);
        found.next().expect(name).1
    }

    fn volume(name: &str, size: &str, class: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\n\
             spec: {{capacity: {{storage: {size}}}, accessModes: [ReadWriteOnce], \
             storageClassName: {class}}}\n"
        )
    }

    fn claim(name: &str, size: &str, fields: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\n\
             spec: {{resources: {{requests: {{storage: {size}}}}}, accessModes: [ReadWriteOnce], \
             {fields}}}\n"
        )
    }

    #[test]
    fn claim_takes_the_smallest_volume_that_fits() {
        let yaml = volume("large", "10Gi", "a")
            + &volume("small", "2Gi", "a")
            + &volume("other", "2Gi", "b")
            + &claim("first", "1Gi", "storageClassName: a")
            + &claim("second", "5Gi", "storageClassName: a")
            + &claim("third", "1Gi", "storageClassName: a");
        let bound = |name: &str| status(&yaml, "PersistentVolumeClaim", name);
        assert_eq!(bound("first")["binding"]["volumeName"], "small");
        assert_eq!(bound("first")["capacity"]["storage"], "2Gi");
        assert_eq!(bound("second")["binding"]["volumeName"], "large");
        let alone = bound("third");
        assert_eq!(
            (&alone["phase"], &alone["binding"]),
            (&json!("Bound"), &Value::Null)
        );
        let other = status(&yaml, "PersistentVolume", "other");
        assert_eq!(other["phase"], "Available");
        let small = status(&yaml, "PersistentVolume", "small");
        assert_eq!(small["binding"]["claimRef"]["name"], "first");
    }

    #[test]
    fn claim_that_names_its_volume_comes_first() {
        let yaml = volume("v", "2Gi", "a")
            + &claim("a", "1Gi", "storageClassName: a")
            + &claim("z", "1Gi", "storageClassName: a, volumeName: v");
        let bound = status(&yaml, "PersistentVolume", "v");
        assert_eq!(bound["binding"]["claimRef"]["name"], "z");
    }
}
