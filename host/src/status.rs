//! Status of a running host: `galleria status`, health, metrics.

mod backup;
mod exchange;
mod metrics;
mod page;
mod port;
mod report;
mod routed;
mod socket;

pub(crate) use backup::Order as BackupOrder;
pub(crate) use exchange::ask_port;
pub(crate) use metrics::Context as MetricsContext;
pub(crate) use page::render;
pub(crate) use port::serve as serve_port;
pub(crate) use report::{HostStatus, WrittenReport};
pub(crate) use socket::{
    SocketContext, ask_for_backup, ask_for_canary, ask_to_explain, bind as bind_socket, fetch,
    order_canary, serve as serve_socket,
};
