//! ServiceEntries that contradict each other.

use std::collections::HashMap;

use super::index::Index;
use super::report::Report;
use super::visibility::Visibility;
use crate::codes;
use crate::model::{Object, ServiceEntryPort};

type Declared<'a> = (&'a Object, Visibility<'a>, &'a ServiceEntryPort);

/// Reports ports of one host that have another protocol in another entry.
pub(super) fn conflicts(index: &Index<'_>, report: &mut Report) {
    let mut declared: HashMap<(String, u16), Vec<Declared<'_>>> = HashMap::new();
    for (object, entry) in &index.service_entries_in_order {
        for host in &entry.hosts {
            for (at, port) in entry.ports.iter().enumerate() {
                let own = Visibility::of_export_to(&entry.export_to, object);
                let key = (host.to_ascii_lowercase(), port.number);
                let others = declared.entry(key).or_default();
                let conflict = others.iter().find(|(other, visibility, known)| {
                    !std::ptr::eq(*other, *object)
                        && known.protocol != port.protocol
                        && visibility.meets(&own)
                });
                if let Some((other, _, known)) = conflict {
                    let message = format!(
                        "ServiceEntry/{} at {} gives port {} of `{host}` another protocol; use one",
                        other.metadata.name, known.at, port.number
                    );
                    let path = format!("spec.ports[{at}].protocol");
                    let code = codes::CONFLICTING_PROTOCOLS;
                    report.warning(object, &port.at, path, code, message);
                }
                // Entries that repeat a known protocol find nothing new.
                if others.iter().all(|(_, visibility, known)| {
                    known.protocol != port.protocol || *visibility != own
                }) {
                    others.push((object, own, port));
                }
            }
        }
    }
}
