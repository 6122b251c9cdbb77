//! The log of one call: collects its facts and reports them when it has ended.
//!
//! A call ends when the body of its response has ended or was dropped. Until then its
//! log also holds what the call occupies: the request's permit, the pod, the spans.

mod emit;
mod record;
mod span;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use galleria_mesh::{RequestPermit, ResponseFlags};
use http::Method;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

use super::Mesh;
use super::attempt::Spans;
use crate::Response;
use crate::body::{End, Watch, Watcher, body_length, empty, settle_content};
use crate::guest::Production;
use crate::telemetry::trace::Span;
use crate::workload::InFlight;
pub(super) use record::Record;

/// See the module's documentation. Reports the call when it is dropped.
pub(super) struct CallLog {
    mesh: Arc<Mesh>,
    pub(super) record: Record,
    /// The last attempt found the pod's queue full.
    pub(super) pods_were_full: bool,
    pub(super) in_flight: Option<InFlight>,
    /// The spans of the attempt that responded; they end before the call's own.
    pub(super) spans: Spans,
    span: Option<Span>,
    permit: Option<RequestPermit>,
    /// When the response must be complete.
    deadline: Option<Instant>,
}

impl CallLog {
    pub(super) fn new(mesh: Arc<Mesh>, record: Record, span: Option<Span>) -> Self {
        Self {
            mesh,
            record,
            pods_were_full: false,
            in_flight: None,
            spans: Spans::default(),
            span,
            permit: None,
            deadline: None,
        }
    }

    pub(super) fn admitted(&mut self, permit: Option<RequestPermit>, deadline: Option<Instant>) {
        self.permit = permit;
        self.deadline = deadline;
    }

    /// Attaches the log to the response: the call ends with its body.
    pub(super) fn watch(mut self, method: &Method, mut response: Response) -> Response {
        self.record.code = response.status().as_u16();
        // The destination's permit and pod are free once its guest is done, however
        // slowly the caller reads.
        if !response.body().is_end_stream()
            && let Some(production) = response.extensions().get::<Production>()
        {
            production.hold((self.permit.take(), self.in_flight.take()));
        }
        settle_content(method, &mut response, |body| *body = empty());
        if response.body().is_end_stream() {
            return response;
        }
        let length = body_length(method, &response);
        let timer = self
            .deadline
            .map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
        response.map(|body| {
            let watch = ResponseWatch {
                call_log: self,
                timer,
            };
            Watch::with_length(body, watch, length).boxed_unsync()
        })
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        let duration = self.record.started.elapsed();
        if self.record.code == 0 {
            // The caller disconnected before there was a response.
            self.record.flags |= ResponseFlags::DC;
        }
        let Mesh {
            metrics,
            counts_calls,
            access_log,
            ..
        } = &*self.mesh;
        emit::count(metrics, *counts_calls, &self.record, duration);
        if let Some(span) = &mut self.span {
            span::describe(span, &self.record);
        }
        emit::log(access_log, &self.record, duration);
    }
}

/// Holds the log of a call until the body of its response is dropped.
struct ResponseWatch {
    call_log: CallLog,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watcher for ResponseWatch {
    fn frame(&mut self, frame: &Frame<Bytes>) {
        self.call_log.record.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
    }

    fn pending(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        ready!(timer.poll_unpin(context));
        let record = &mut self.call_log.record;
        record.flags |= ResponseFlags::UT;
        record.timed_out();
        Poll::Ready(Error::HttpResponseTimeout)
    }

    fn end(&mut self, end: End) {
        self.call_log.record.flags |= match end {
            End::Complete => ResponseFlags::NONE,
            End::Failed => ResponseFlags::UC,
            End::Cancelled => ResponseFlags::DC,
        };
    }
}
