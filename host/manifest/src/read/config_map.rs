//! ConfigMap.

use super::secret::{base64_value, check_size, config_key, text};
use crate::codes;
use crate::decode::{Fields, boolean, map};
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
    let binary_data = fields
        .optional("binaryData", |d, node| {
            map(d, node, |d, key, value| {
                config_key(d, key, value);
                if data.contains_key(key) {
                    let message = "this key is also in `data`; keep one of the two";
                    d.error(value.mark, codes::EXCLUSIVE_FIELDS, message);
                }
                base64_value(d, value, "data")
            })
        })
        .unwrap_or_default();
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
