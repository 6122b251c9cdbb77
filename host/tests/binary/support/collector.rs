//! An OpenTelemetry collector that receives the host's exports over gRPC or HTTP.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message;
use tonic::{Request, Response, Status};

use super::eventually;

/// See the module's documentation.
pub struct Collector {
    pub address: SocketAddr,
    protocol: &'static str,
    spans: Spans,
    _runtime: Option<tokio::runtime::Runtime>,
}

type Spans = Arc<Mutex<Vec<SpanRecord>>>;

/// One span.
#[derive(Debug, Clone)]
pub struct SpanRecord {
    /// `service.name`.
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    /// As OTLP numbers them: 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    /// Why it failed, if that is known.
    pub message: String,
    pub attributes: HashMap<String, String>,
}

impl Collector {
    /// A collector that speaks gRPC.
    pub fn grpc() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(async {
            tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port")
        });
        let address = listener.local_addr().expect("an address");
        let spans = Spans::default();
        let service = TraceServiceServer::new(Receiver(spans.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self {
            address,
            protocol: "grpc",
            spans,
            _runtime: Some(runtime),
        }
    }

    /// A collector that speaks HTTP.
    pub fn http() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let spans = Spans::default();
        let kept = spans.clone();
        // The thread ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || serve_http(&stream, &kept));
            }
        });
        Self {
            address,
            protocol: "http/protobuf",
            spans,
            _runtime: None,
        }
    }

    /// The environment variables that make a host export to it.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://{}", self.address),
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", self.protocol.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
        ]
    }

    pub fn spans(&self) -> Vec<SpanRecord> {
        self.spans.lock().expect("unpoisoned").clone()
    }

    /// The spans of `trace`, as soon as `is_whole` returns true for them.
    pub fn trace(&self, trace: &str, is_whole: impl Fn(&[SpanRecord]) -> bool) -> Vec<SpanRecord> {
        eventually("the trace is complete", || {
            let spans: Vec<_> = self
                .spans()
                .into_iter()
                .filter(|it| it.trace == trace)
                .collect();
            is_whole(&spans).then_some(spans)
        })
    }
}

struct Receiver(Spans);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        keep(&self.0, request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn serve_http(stream: &std::net::TcpStream, spans: &Spans) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body");
        keep(
            spans,
            ExportTraceServiceRequest::decode(&*body).expect("protobuf"),
        );
        let mut stream = stream;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
            .expect("written");
    }
}

fn keep(kept: &Spans, request: ExportTraceServiceRequest) {
    let mut kept = kept.lock().expect("unpoisoned");
    for resource in request.resource_spans {
        let attributes = attributes(&resource.resource.unwrap_or_default().attributes);
        let service = attributes.get("service.name").cloned().unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|it| it.spans) {
            kept.push(SpanRecord {
                service: service.clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                failed: span.status.as_ref().is_some_and(|it| it.code == 2),
                message: span.status.map(|it| it.message).unwrap_or_default(),
                attributes: self::attributes(&span.attributes),
            });
        }
    }
}

fn attributes(pairs: &[KeyValue]) -> HashMap<String, String> {
    let pair = |pair: &KeyValue| {
        let value = match pair.value.as_ref().and_then(|it| it.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            Some(any_value::Value::BoolValue(value)) => value.to_string(),
            other => format!("{other:?}"),
        };
        (pair.key.clone(), value)
    };
    pairs.iter().map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
