//! A mesh without a host: resources as YAML, pods that only have a name, a clock that tests
//! advance, and a seed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use galleria_manifest::model::{ContainerPort, Labels, Object};
use galleria_mesh::inbound::jwt::TokenTime;
use galleria_mesh::{
    CallFacts, Caller, CallerKey, CompiledMesh, Decision, Driver, Endpoint, Explanation, Forward,
    LocalReply, Location, Options, PickContext, PickedEndpoint, Pod, RequestHead, Snapshot, State,
    Workload, compile, normalise_path,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::drive::DrivenCall;

/// The time at which explanations verify tokens, since 1970.
pub(crate) const UNIX_NOW: Duration = Duration::from_secs(1_700_000_000);

pub(crate) const SEED: u64 = 0x6761_6c6c_6572_6961;

/// The mesh, and everything that a host knows.
pub(crate) struct World {
    pub(crate) state: Arc<State>,
    pub(crate) snapshot: Snapshot,
    pub(crate) diagnostics: Vec<String>,
    pub(crate) options: Options,
    pub(crate) now: Instant,
    pub(crate) rng: StdRng,
    objects: Vec<Arc<Object>>,
    pods: Vec<Pod>,
    workloads: HashMap<(String, String), Arc<Workload>>,
}

/// A request that a test builds.
pub(crate) struct Call<'w> {
    world: &'w mut World,
    from: From,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    source_ip: Option<IpAddr>,
    timeout: Option<Duration>,
}

enum From {
    Edge(u16),
    Workload(Arc<Workload>),
}

/// The result of a request: the mesh's own reply, or an endpoint.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(LocalReply),
    Sent(Box<SentRequest>),
}

#[derive(Debug)]
pub(crate) struct SentRequest {
    pub(crate) forward: Forward,
    pub(crate) picked: PickedEndpoint,
    pub(crate) hash: Option<u64>,
    /// As the endpoint sees it.
    pub(crate) request: http::request::Parts,
}

impl World {
    /// A mesh with these resources and no pods yet.
    pub(crate) fn new(yaml: &str) -> Self {
        Self::with_options(yaml, Options::default())
    }

    pub(crate) fn with_options(yaml: &str, options: Options) -> Self {
        let now = Instant::now();
        let state = State::new(now);
        let objects = read(yaml);
        println!("seed {SEED:#x}");
        let mut world = Self {
            snapshot: compile(&[], &[], &options, &state).snapshot,
            state,
            diagnostics: Vec::new(),
            options,
            now,
            rng: StdRng::seed_from_u64(SEED),
            objects,
            pods: Vec::new(),
            workloads: HashMap::new(),
        };
        world.compile();
        world
    }

    /// Adds ready pods `name-0`, `name-1`, … of a Deployment.
    pub(crate) fn pods(
        mut self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        count: usize,
    ) -> Self {
        self.scale(namespace, name, labels, count);
        self
    }

    /// Scales a Deployment to `count` pods, and compiles a new snapshot.
    pub(crate) fn scale(
        &mut self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        count: usize,
    ) {
        let labels: Labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let key = (namespace.to_owned(), name.to_owned());
        let workload = Workload::new(namespace, name, name, labels.clone())
            .in_trust_domain(&self.options.trust_domain);
        let workload = Arc::clone(
            self.workloads
                .entry(key)
                .or_insert_with(|| Arc::new(workload)),
        );
        self.pods
            .retain(|pod| !Arc::ptr_eq(&pod.workload, &workload));
        for number in 0..count {
            self.pods.push(Pod {
                name: format!("{name}-{number}"),
                workload: Arc::clone(&workload),
                labels: labels.clone(),
                ports: vec![ContainerPort {
                    name: Some("http".into()),
                    container_port: 8080,
                }],
                ready: Arc::new(AtomicBool::new(true)),
                location: Location::Here(self.pods.len()),
            });
        }
        self.compile();
    }

    /// Replaces all resources, as a reload does.
    pub(crate) fn apply(&mut self, yaml: &str) {
        self.objects = read(yaml);
        self.compile();
    }

    fn compile(&mut self) {
        let CompiledMesh {
            snapshot,
            diagnostics,
        } = compile(&self.objects, &self.pods, &self.options, &self.state);
        self.snapshot = snapshot;
        self.diagnostics = diagnostics.iter().map(ToString::to_string).collect();
    }

    pub(crate) fn set_ready(&self, pod: &str, ready: bool) {
        let pod = self
            .pods
            .iter()
            .find(|it| it.name == pod)
            .expect("there is such a pod");
        pod.ready.store(ready, Ordering::Release);
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// A request from outside, by the URL in the browser.
    pub(crate) fn edge(&mut self, url: &str) -> Call<'_> {
        let uri: Uri = url.parse().expect("a URL");
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("https") {
                443
            } else {
                80
            });
        self.call(From::Edge(port), uri)
    }

    /// A request of a workload, by the URL in its code.
    pub(crate) fn from(&mut self, namespace: &str, name: &str, url: &str) -> Call<'_> {
        let key = (namespace.to_owned(), name.to_owned());
        let stranger = || Arc::new(Workload::new(namespace, name, name, Labels::new()));
        let workload = self.workloads.get(&key).cloned().unwrap_or_else(stranger);
        self.call(From::Workload(workload), url.parse().expect("a URL"))
    }

    fn call(&mut self, from: From, uri: Uri) -> Call<'_> {
        let (method, headers) = (Method::GET, HeaderMap::new());
        Call {
            world: self,
            from,
            method,
            uri,
            headers,
            source_ip: None,
            timeout: None,
        }
    }
}

pub(crate) fn read(yaml: &str) -> Vec<Arc<Object>> {
    let loaded = galleria_manifest::read_str(Path::new("test.yaml"), yaml);
    assert!(!loaded.has_errors(), "{:#?}", loaded.diagnostics);
    loaded.objects
}

impl Call<'_> {
    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers
            .append(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    pub(crate) fn source_ip(mut self, ip: &str) -> Self {
        self.source_ip = Some(ip.parse().expect("an address"));
        self
    }

    /// Sets how long the caller itself waits.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn explain(&self) -> Explanation {
        let path = self.path();
        let world = &*self.world;
        let time = TokenTime {
            unix: UNIX_NOW,
            monotonic: world.now,
        };
        let caller = self.from.caller();
        world.snapshot.explain(caller, &self.head(&path), time)
    }

    /// Decides, and picks an endpoint as a first attempt does.
    pub(crate) fn send(mut self) -> Answer {
        let path = self.path();
        let (forward, hash) = match self.decide(&path) {
            (Decision::Reply(reply), _) => return Answer::Reply(reply),
            (Decision::Forward(forward), hash) => (forward, hash),
        };
        let context = PickContext {
            caller: forward.caller,
            now: self.world.now,
            hash,
            tried: &[],
        };
        let picked = match forward.cluster.pick(&context, &mut self.world.rng) {
            Ok(picked) => picked,
            Err(reply) => return Answer::Reply(reply),
        };
        let mut request = self.request(&path);
        request.extensions.insert(CallFacts {
            start: UNIX_NOW,
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        });
        let mut sent = Box::new(SentRequest {
            forward,
            picked,
            hash,
            request,
        });
        sent.forward.apply_request(&mut sent.request);
        Answer::Sent(sent)
    }

    /// Decides, and begins a call for a test to drive.
    #[track_caller]
    pub(crate) fn begin(mut self) -> DrivenCall {
        let path = self.path();
        let (forward, hash) = match self.decide(&path) {
            (Decision::Forward(forward), hash) => (forward, hash),
            (Decision::Reply(reply), _) => panic!("not forwarded: {reply:?}"),
        };
        let driver = Driver::new(&forward, &self.method, self.timeout, &mut self.world.rng);
        DrivenCall {
            forward,
            driver,
            hash,
        }
    }

    fn decide(&mut self, path: &str) -> (Decision, Option<u64>) {
        let mut rng = self.world.rng.clone();
        let head = self.head(path);
        let caller = self.from.caller();
        let mut decision = self.world.snapshot.route(caller, &head, &mut rng);
        let hash = match &mut decision {
            Decision::Forward(forward) => forward.hash(&head, &mut rng),
            Decision::Reply(_) => None,
        };
        self.world.rng = rng;
        (decision, hash)
    }

    fn head<'a>(&'a self, path: &'a str) -> RequestHead<'a> {
        RequestHead {
            method: &self.method,
            scheme: self.uri.scheme_str().unwrap_or("http"),
            authority: self.authority(),
            path,
            query: self.uri.query(),
            headers: &self.headers,
            source_ip: self.source_ip,
        }
    }

    fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    fn path(&self) -> String {
        normalise_path(self.uri.path())
            .expect("a good path")
            .into_owned()
    }

    /// The head that a host would send, before the route's changes.
    fn request(&self, path: &str) -> http::request::Parts {
        let (mut request, ()) = Request::new(()).into_parts();
        request.method = self.method.clone();
        request.headers = self.headers.clone();
        let host = HeaderValue::from_str(self.authority()).expect("a header value");
        request.headers.insert(http::header::HOST, host);
        let path_and_query = match self.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        request.uri = path_and_query.parse().expect("a path");
        request
    }
}

impl From {
    fn caller(&self) -> Caller<'_> {
        match self {
            Self::Edge(listener_port) => Caller::Edge {
                listener_port: *listener_port,
            },
            Self::Workload(workload) => Caller::Workload(workload),
        }
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn sent(self) -> SentRequest {
        match self {
            Self::Sent(sent) => *sent,
            Self::Reply(reply) => panic!("not sent: {reply:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn reply(self) -> LocalReply {
        match self {
            Self::Reply(reply) => reply,
            Self::Sent(sent) => panic!("sent to {:?}", sent.picked),
        }
    }

    /// `outbound|80||…`, or status and flags, as in an access log.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Reply(reply) => format!("{} {}", reply.status.as_u16(), reply.flags),
            Self::Sent(sent) => sent.forward.cluster.name.clone(),
        }
    }
}

impl SentRequest {
    pub(crate) fn pod(&self) -> &str {
        &self.picked.endpoint.name
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.picked.endpoint
    }

    pub(crate) fn caller(&self) -> CallerKey {
        self.forward.caller
    }

    pub(crate) fn path(&self) -> &str {
        self.request
            .uri
            .path_and_query()
            .map_or("", |it| it.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    /// The response headers after the mesh has changed them.
    pub(crate) fn response(&self, origin: Option<&str>) -> HeaderMap {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        let origin = origin.map(|origin| HeaderValue::from_str(origin).expect("a header value"));
        self.forward.apply_response(origin.as_ref(), &mut parts);
        parts.headers
    }
}

/// Services on port 80 that select pods by `app: NAME`.
pub(crate) fn services(names: &[(&str, &str)]) -> String {
    let service = |(namespace, name): &(&str, &str)| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n---\n"
        )
    };
    names.iter().map(service).collect()
}

/// A VirtualService with this spec (flow or block YAML, indented by two).
pub(crate) fn virtual_service(namespace: &str, name: &str, spec: &str) -> String {
    istio("VirtualService", namespace, name, spec)
}

pub(crate) fn destination_rule(namespace: &str, name: &str, spec: &str) -> String {
    istio("DestinationRule", namespace, name, spec)
}

pub(crate) fn istio(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}\n---\n"
    )
}

/// A Gateway on port 80 for every host.
pub(crate) fn gateway(namespace: &str, name: &str) -> String {
    let spec = "  selector: {istio: ingressgateway}\n  servers:\n    \
                - port: {number: 80, name: http, protocol: HTTP}\n      hosts: ['*']";
    istio("Gateway", namespace, name, spec)
}
