//! Ingresses: backends were written differently in the first versions.

use serde_json::{Value, json};

/// The old apiVersion that is served.
pub(super) const OLD: &str = "extensions/v1beta1";

/// To the current version. An Ingress in it stays as it is.
pub(super) fn to_new(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(mut backend) = spec.remove("backend") {
        new_backend(&mut backend);
        spec.insert("defaultBackend".to_owned(), backend);
    }
    for path in paths(object) {
        if path["backend"]["serviceName"].is_null() {
            continue;
        }
        new_backend(&mut path["backend"]);
        if path["pathType"].is_null() {
            path["pathType"] = "ImplementationSpecific".into();
        }
    }
}

/// To [`OLD`].
pub(super) fn to_old(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(mut backend) = spec.remove("defaultBackend") {
        old_backend(&mut backend);
        spec.insert("backend".to_owned(), backend);
    }
    for path in paths(object) {
        if let Some(backend) = path.get_mut("backend") {
            old_backend(backend);
        }
    }
}

fn paths(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    let rules = object
        .pointer_mut("/spec/rules")
        .and_then(Value::as_array_mut);
    rules.into_iter().flatten().flat_map(|rule| {
        let paths = rule
            .pointer_mut("/http/paths")
            .and_then(Value::as_array_mut);
        paths.into_iter().flatten()
    })
}

fn new_backend(backend: &mut Value) {
    let Some(fields) = backend.as_object_mut() else {
        return;
    };
    let Some(name) = fields.remove("serviceName") else {
        return;
    };
    let port = match fields.remove("servicePort") {
        Some(Value::String(name)) => json!({"name": name}),
        number => json!({"number": number}),
    };
    let service = json!({"name": name, "port": port});
    fields.insert("service".to_owned(), service);
}

fn old_backend(backend: &mut Value) {
    let Some(fields) = backend.as_object_mut() else {
        return;
    };
    let Some(service) = fields.remove("service") else {
        return;
    };
    let port = service
        .pointer("/port/name")
        .or(service.pointer("/port/number"));
    fields.insert("serviceName".to_owned(), service["name"].clone());
    fields.insert("servicePort".to_owned(), port.cloned().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_converted_both_ways() {
        let new = json!({"spec": {
            "defaultBackend": {"service": {"name": "a", "port": {"name": "http"}}},
            "rules": [{"http": {"paths": [{
                "path": "/b",
                "pathType": "ImplementationSpecific",
                "backend": {"service": {"name": "b", "port": {"number": 80}}},
            }]}}, {"host": "c.test"}],
        }});
        let mut object = new.clone();
        to_old(&mut object);
        let old = json!({"serviceName": "a", "servicePort": "http"});
        assert_eq!(object["spec"]["backend"], old);
        let backend = &object["spec"]["rules"][0]["http"]["paths"][0]["backend"];
        assert_eq!(*backend, json!({"serviceName": "b", "servicePort": 80}));
        to_new(&mut object);
        assert_eq!(object, new);
        to_new(&mut object);
        assert_eq!(object, new);
    }
}
