//! ConfigMap.

use super::secret::{base64_value, check_size, config_key, text};
use crate::codes;
use crate::decode::{Fields, boolean, map, steps};
use crate::model::{ConfigMap, Resource};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let data = fields
        .optional("data", |d, node| {
            map(d, node, |d, key, value| {
                config_key(d, key, value);
                text(d, value).map(str::to_owned)
            })
        })
        .unwrap_or_default();
    let mut in_both = Vec::new();
    let binary_data = fields
        .optional("binaryData", |d, node| {
            map(d, node, |d, key, value| {
                config_key(d, key, value);
                if data.contains_key(key) {
                    in_both.push((key.to_owned(), value.mark));
                }
                base64_value(d, value, "data")
            })
        })
        .unwrap_or_default();
    for (key, mark) in in_both {
        fields.d.within(steps!["data", key], |d| {
            let message = "this key is also in `binaryData`; keep one of the two";
            d.error(mark, codes::EXCLUSIVE_FIELDS, message);
        });
    }
    let texts = data.values().map(String::len);
    check_size(&mut fields, texts.chain(binary_data.values().map(Vec::len)));
    let immutable = fields.optional("immutable", boolean).unwrap_or(false);
    fields.finish(&[]);
    Some(Resource::ConfigMap(ConfigMap {
        immutable,
        data,
        binary_data,
        mesh_config: None,
    }))
}
