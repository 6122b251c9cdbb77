//! What the host keeps for a guest outside of the guest's memory: headers, and unread bodies.
//!
//! It counts as the pod's memory. It is measured after a number of calls of `wasi:http`, not
//! at every call. If it is too large, the guest is ended at the next tick, as for linear
//! memory.

use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, p3};

use super::limits::{BODY_PIECE_MAX, InstanceLimiter, MemoryLimitReached};

/// How many calls there are between two measurements. In that many, a guest can create 8 MiB
/// of headers.
const CALLS: u32 = 64;

/// The approximate size of any entry of the resource table.
const ENTRY_BYTES: u64 = 512;

/// The size of a header in addition to its text.
const HEADER_BYTES: usize = 64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct ResourceMeter {
    calls: u32,
    reached: Option<MemoryLimitReached>,
}

impl ResourceMeter {
    /// Counts a call.
    pub(super) fn called(&mut self, table: &mut ResourceTable, limiter: &mut InstanceLimiter) {
        self.calls += 1;
        if self.calls >= CALLS {
            self.look(table, limiter);
        }
    }

    /// Measures what is kept now.
    pub(super) fn look(&mut self, table: &mut ResourceTable, limiter: &mut InstanceLimiter) {
        self.calls = 0;
        let bytes = table.iter_mut().map(|entry| bytes(entry)).sum();
        self.reached = limiter.hold(bytes).err();
    }

    /// The limit that the guest has exceeded, if any.
    pub(super) fn reached(&self) -> Option<MemoryLimitReached> {
        self.reached
    }
}

fn bytes(entry: &(dyn std::any::Any + Send)) -> u64 {
    let of_kind = if let Some(fields) = entry.downcast_ref::<FieldMap>() {
        of_fields(fields)
    } else if entry.is::<HostOutgoingBody>() {
        // One piece waits, another is being delivered.
        2 * BODY_PIECE_MAX as u64
    } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
        of_fields(&request.headers)
    } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
        of_fields(&response.headers)
    } else if let Some(request) = entry.downcast_ref::<p3::Request>() {
        of_fields(&request.headers)
    } else if let Some(response) = entry.downcast_ref::<p3::Response>() {
        of_fields(&response.headers)
    } else {
        0
    };
    ENTRY_BYTES + of_kind
}

fn of_fields(fields: &FieldMap) -> u64 {
    let headers = fields.iter();
    let bytes = headers.map(|(name, value)| HEADER_BYTES + name.as_str().len() + value.len());
    bytes.sum::<usize>() as u64
}
