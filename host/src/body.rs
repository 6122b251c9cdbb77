//! Bodies of requests and responses.
//!
//! Every hand-written [`http_body::Body`] is here, except the two that are part of
//! how guests run (`guest/delivery.rs`, `guest/concurrent.rs`). Each is a mechanism
//! without knowledge of calls, logs or metrics: the code that wraps a body decides what
//! its frames and its end mean.
//!
//! The wrappers are generic over the body inside. Compose them first and box the
//! result once: a box is an allocation and an indirect call for every frame.

mod content;
mod count;
mod detach;
mod discard;
mod length;
mod pieces;
mod prebuffer;
mod replay;
mod request_body;
mod tee;
mod watch;

pub(crate) use content::{has_content, settle_content};
pub(crate) use count::{ByteCount, Count};
pub(crate) use detach::detach;
pub(crate) use discard::{AwaitsContinue, Discard, Rest};
pub(crate) use length::body_length;
pub(crate) use pieces::{Pieces, Turns};
pub(crate) use prebuffer::{Beginning, BeginningLimits, prebuffer, read_beginning};
pub(crate) use replay::Replay;
pub(crate) use request_body::{Pace, RequestBody, RequestBodyError, WholeBody};
pub(crate) use tee::tee;
pub(crate) use watch::{End, Watch, Watcher};

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use wasmtime_wasi_http::Error;

use crate::Body;

/// A body with the data and the error of [`Body`] that is not boxed yet.
pub(crate) trait AnyBody:
    http_body::Body<Data = Bytes, Error = Error> + Send + Unpin + 'static
{
}

impl<B> AnyBody for B where B: http_body::Body<Data = Bytes, Error = Error> + Send + Unpin + 'static {}

/// No body. Allocates nothing.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

/// A body that is in memory.
pub(crate) fn full(data: impl Into<Bytes>) -> Body {
    Full::new(data.into()).map_err(never).boxed_unsync()
}

fn never(never: Infallible) -> Error {
    match never {}
}
