//! Tables for kubectl to print: the columns of a kind, and a row for each object.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::form::{RowObject, partial};
use super::kind::{Cell, Kind, columns_of};

/// A table of `objects`, with the metadata of their list.
pub(super) fn table(
    version: &str,
    included: RowObject,
    kind: &Kind,
    objects: &[Value],
    metadata: &Value,
) -> Value {
    let now = Timestamp::now();
    let columns = columns_of(kind);
    let definitions = columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.data_type,
            "format": if column.name == "Name" { "name" } else { "" },
            "description": "",
            "priority": i32::from(column.wide),
        })
    });
    let row = |object: &Value| {
        let cell = Cell { object, now };
        let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(cell)).collect();
        match included {
            RowObject::None => json!({"cells": cells}),
            RowObject::Metadata => json!({"cells": cells, "object": partial(version, object)}),
            RowObject::Object => json!({"cells": cells, "object": object}),
        }
    };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": definitions.collect::<Vec<_>>(),
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_a_row() {
        let kind = Kind::at("", "v1", "pods").expect("pods");
        let pod = json!({
            "metadata": {"name": "a"},
            "spec": {"containers": [{}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"ready": false, "restartCount": 3,
                 "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
            ]},
        });
        let table = table("v1", RowObject::Metadata, kind, &[pod], &json!({}));
        let row = &table["rows"][0];
        assert_eq!(
            row["cells"],
            json!([
                "a",
                "0/1",
                "CrashLoopBackOff",
                "3",
                "<unknown>",
                "<none>",
                "<none>",
                "<none>",
                "<none>"
            ])
        );
        assert_eq!(row["object"]["metadata"]["name"], "a");
        assert_eq!(table["columnDefinitions"][4]["name"], "Age");
    }
}
