//! From a request to its response.

use axum::body::Body;
use axum::extract::Query;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

use super::Api;
use super::access::Access;
use super::body;
use super::discovery;
use super::failure::Failure;
use super::form::{Form, RowObject};
use super::kind::{SCALE, api_version};
use super::list::Options;
use super::openapi;
use super::path::{Resource, Target};
use super::review;

/// The group of Istio's Gateway.
const ISTIO: &str = "networking.istio.io";

/// The versions of aggregated discovery, the newest first.
const DISCOVERY: [&str; 2] = ["v2", "v2beta1"];

impl Api {
    /// Answers a request that was authorized.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn answer(
        &self,
        request: &Parts,
        body: Body,
        access: Access,
    ) -> Result<Response<Body>, Failure> {
        let target = Target::of(&request.uri)?;
        let headers = &request.headers;
        if let Target::Objects(resource) = target {
            let forwards = resource.is_subresource("portforward");
            // A WebSocket begins with GET, but it does not only read.
            let method = match forwards {
                true => &Method::POST,
                false => &request.method,
            };
            access.check(method, &resource.kind.resource())?;
            if forwards {
                let name = resource.name.as_deref().ok_or(Failure::NoSuchPath)?;
                return self.forward(request, &resource, name);
            }
            if is_stream(&resource) {
                return Err(Failure::BadRequest(NO_STREAM.into()));
            }
            // A read has no use for its body.
            return match reads(&request.method) {
                Ok(()) => self.read(request, resource),
                Err(_) if resource.kind.is_made_by_host() => Err(Failure::MethodNotAllowed),
                Err(_) => {
                    let body = body::read(body).await?;
                    self.write(request, body, &resource).await
                }
            };
        }
        if let Target::Review(review) = target {
            if request.method != Method::POST {
                return Err(Failure::MethodNotAllowed);
            }
            let body = body::read(body).await?;
            let answer = review::answer(review, access, request, &body)?;
            return Ok(with_status(json(&answer), StatusCode::CREATED));
        }
        reads(&request.method)?;
        match target {
            Target::Root => Ok(json(&discovery::paths())),
            Target::Health => Ok(typed(
                Body::from("ok"),
                HeaderValue::from_static("text/plain; charset=utf-8"),
            )),
            Target::Version => Ok(json(&discovery::version())),
            Target::CoreVersions => discovered(headers, true, None),
            Target::Groups => discovered(headers, false, self.first_group()),
            Target::Group(name) => discovery::group(&name).map(|group| json(&group)),
            Target::Resources { group, version } => {
                discovery::resources(&group, &version).map(|resources| json(&resources))
            }
            Target::OpenApiV2 if accepts(headers).contains(openapi::PROTOBUF) => Ok(typed(
                Body::from(openapi::v2_protobuf()),
                HeaderValue::from_static(openapi::PROTOBUF_ANSWER),
            )),
            Target::OpenApiV2 => Ok(json(openapi::v2())),
            Target::OpenApiV3Index => Ok(json(&openapi::v3_index())),
            Target::OpenApiV3 { group, version } => {
                openapi::v3(&group, &version).map(|document| json(&document))
            }
            Target::Objects(_) | Target::Review(_) => Err(Failure::NoSuchPath),
        }
    }

    fn read(&self, request: &Parts, mut resource: Resource) -> Result<Response<Body>, Failure> {
        let options = options(request)?;
        let form = Form::of(&request.headers, RowObject::of(&options.include_object)?)?;
        match resource.subresource.as_deref() {
            // The status is part of the object.
            None | Some("status") => {}
            Some("log") if resource.is_subresource("log") => {
                let name = resource.name.take().ok_or(Failure::NoSuchPath)?;
                return self.log(request, &resource, &name);
            }
            Some(SCALE) if resource.is_subresource(SCALE) => {
                let name = resource.name.take().ok_or(Failure::NoSuchPath)?;
                return self.read_scale(&resource, &name);
            }
            Some(_) => return Err(Failure::NoSuchPath),
        }
        if resource.kind.is_measured() {
            return self.measured(&resource, &options, &form);
        }
        if options.watch.is_set() {
            if let Some(name) = resource.name.take() {
                let mut options = options;
                options.field_selector = format!("metadata.name={name}");
                return Ok(typed(self.watch(resource, &options, form)?, JSON));
            }
            return Ok(typed(self.watch(resource, &options, form)?, JSON));
        }
        let value = match resource.name.take() {
            Some(name) => self.get(&resource, &name, &options, &form)?,
            None => self.list(&resource, &options, &form)?,
        };
        Ok(json(&value))
    }
}

impl Api {
    /// The group that `kubectl get gateway` means: Istio's if only that has Gateways.
    fn first_group(&self) -> Option<&'static str> {
        let (all, _) = self.store.list();
        let mut gateways = all.iter().filter(|it| it.object.kind == "Gateway");
        let first = gateways.next()?.object.key().group;
        let is_istio = first == ISTIO && gateways.all(|it| it.object.key().group == ISTIO);
        is_istio.then_some(ISTIO)
    }

    fn measured(
        &self,
        resource: &Resource,
        options: &Options,
        form: &Form,
    ) -> Result<Response<Body>, Failure> {
        let mut objects = self.usage.objects(resource, options)?;
        if let Some(name) = &resource.name {
            let found = objects.pop().ok_or_else(|| Failure::NotFound {
                kind: resource.kind,
                name: name.clone(),
            })?;
            return Ok(json(&form.one(resource.kind, found)));
        }
        let version = api_version(resource.kind.group, &resource.version);
        let metadata = serde_json::json!({});
        Ok(json(&form.list(
            resource.kind,
            &version,
            &objects,
            &metadata,
        )))
    }
}

/// Why `kubectl exec`, `attach` and `debug` fail.
const NO_STREAM: &str = "a WebAssembly guest has no shell and no sockets of its own; \
    its requests arrive through the listeners of this host";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn reads(method: &Method) -> Result<(), Failure> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Failure::MethodNotAllowed),
    }
}

fn options(request: &Parts) -> Result<Options, Failure> {
    let query = Query::<Options>::try_from_uri(&request.uri);
    let options = query.map_err(|error| Failure::BadRequest(error.body_text()))?;
    Ok(options.0)
}

/// The media types that a client accepts, without spaces.
fn accepts(headers: &HeaderMap) -> String {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let accepted: Vec<_> = accepted.filter_map(|value| value.to_str().ok()).collect();
    accepted.join(",").replace(' ', "")
}

fn discovered(
    headers: &HeaderMap,
    core: bool,
    first: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let accepted = accepts(headers);
    let wanted = DISCOVERY.iter().find(|version| {
        accepted.split(',').any(|media| {
            let has = |parameter: &str| media.split(';').any(|it| it == parameter);
            has("as=APIGroupDiscoveryList") && has(&format!("v={version}"))
        })
    });
    let Some(version) = wanted else {
        Form::of(headers, RowObject::default())?;
        return Ok(json(&match core {
            true => discovery::core_versions(),
            false => discovery::groups(first),
        }));
    };
    let body = discovery::aggregated(core, first, version).to_string();
    let kind =
        format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    Ok(typed(
        Body::from(body),
        HeaderValue::try_from(kind).unwrap_or(JSON),
    ))
}

pub(super) fn json(value: &Value) -> Response<Body> {
    typed(Body::from(value.to_string()), JSON)
}

pub(super) fn with_status(mut response: Response<Body>, status: StatusCode) -> Response<Body> {
    *response.status_mut() = status;
    response
}

/// Streams of a pod, which clients open by GET or POST, and containers for debugging.
fn is_stream(resource: &Resource) -> bool {
    let streams = ["attach", "exec", "proxy"];
    let is_debug = resource.kind.kind == "Pod"
        && resource.subresource.as_deref() == Some("ephemeralcontainers");
    is_debug || streams.iter().any(|name| resource.is_subresource(name))
}

fn typed(body: Body, kind: HeaderValue) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}
