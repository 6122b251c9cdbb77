//! ServiceAccount.

use super::pod::local_reference;
use crate::decode::Fields;
use crate::model::{Resource, ServiceAccount};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let image_pull_secrets = fields.list("imagePullSecrets", local_reference);
    fields.finish(&["secrets", "automountServiceAccountToken"]);
    Some(Resource::ServiceAccount(ServiceAccount {
        image_pull_secrets,
    }))
}
