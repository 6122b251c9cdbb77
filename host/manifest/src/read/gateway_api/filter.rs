//! The filters of an HTTPRoute's rule, in the form of a VirtualService.

use std::time::Duration;

use regex::Regex;

use super::route::reference;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, dns_name, header_name, integer, non_empty, percent, port,
    string,
};
use crate::model::{
    Backend, CorsPolicy, HeaderChanges, HeaderOperations, Mirror, Percent, Redirect, RedirectPort,
    RegexRewrite, Rewrite, StringMatch,
};
use crate::unenforced::parts;
use crate::yaml::Node;

/// One filter.
pub(super) enum Filter {
    RequestHeaders(HeaderChanges),
    ResponseHeaders(HeaderChanges),
    Redirect(Box<Redirect>),
    Rewrite(Rewrite),
    Mirror(Mirror, Backend),
    Cors(CorsPolicy),
}

/// All filters of a rule or of a backend.
#[derive(Default)]
pub(super) struct Filters {
    pub(super) headers: HeaderOperations,
    pub(super) redirect: Option<Redirect>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) mirrors: Vec<Mirror>,
    /// The backend of each mirror.
    pub(super) mirrored: Vec<Backend>,
    pub(super) cors: Option<CorsPolicy>,
}

impl Filters {
    pub(super) fn all(filters: Vec<Filter>) -> Self {
        let mut all = Self::default();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(changes) => all.headers.request = changes,
                Filter::ResponseHeaders(changes) => all.headers.response = changes,
                Filter::Redirect(redirect) => all.redirect = Some(*redirect),
                Filter::Rewrite(rewrite) => all.rewrite = Some(rewrite),
                Filter::Mirror(mirror, backend) => {
                    all.mirrors.push(mirror);
                    all.mirrored.push(backend);
                }
                Filter::Cors(cors) => all.cors = Some(cors),
            }
        }
        all
    }

    pub(super) fn changes_more_than_headers(&self) -> bool {
        self.redirect.is_some()
            || self.rewrite.is_some()
            || !self.mirrors.is_empty()
            || self.cors.is_some()
    }
}

/// The types, each with the field of its settings.
const TYPES: &[(&str, &str)] = &[
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("RequestMirror", "requestMirror"),
    ("CORS", "cors"),
    ("ExtensionRef", "extensionRef"),
    ("ExternalAuth", "externalAuth"),
];

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<Filter> {
    let mut fields = Fields::of(d, node)?;
    let field = fields.required("type", |d, node| choice(d, node, "a filter", TYPES))?;
    let filter = match field {
        "requestHeaderModifier" => fields.required(field, headers).map(Filter::RequestHeaders),
        "responseHeaderModifier" => fields.required(field, headers).map(Filter::ResponseHeaders),
        "requestRedirect" => {
            let redirect = fields.required(field, redirect);
            redirect.map(|redirect| Filter::Redirect(Box::new(redirect)))
        }
        "urlRewrite" => fields.required(field, rewrite).map(Filter::Rewrite),
        "requestMirror" => {
            let mirror = fields.required(field, mirror);
            mirror.map(|(mirror, backend)| Filter::Mirror(mirror, backend))
        }
        "cors" => fields.required(field, cors).map(Filter::Cors),
        _ => {
            let restriction = match field {
                "externalAuth" => parts::EXTERNAL_AUTH,
                _ => parts::EXTENSION_REF,
            };
            fields.ignore(&["extensionRef", "externalAuth"]);
            fields.unenforced("type", restriction);
            None
        }
    };
    fields.finish(&[]);
    filter
}

fn headers(d: &mut Decoder, node: &Node) -> Option<HeaderChanges> {
    let mut fields = Fields::of(d, node)?;
    let set = fields.list("set", header);
    let add = fields.list("add", header);
    let remove = fields.list("remove", |d, node| {
        let name = non_empty(d, node)?;
        header_name(d, &name, node, false)
    });
    fields.finish(&[]);
    Some(HeaderChanges {
        set,
        add,
        remove,
        is_literal: true,
    })
}

fn header(d: &mut Decoder, node: &Node) -> Option<(String, String)> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", |d, node| {
        let name = non_empty(d, node)?;
        header_name(d, &name, node, false)
    });
    let value = fields.required("value", string);
    if value
        .as_ref()
        .is_some_and(|value| value.chars().any(char::is_control))
    {
        let message = "a header's value must be one line of text".to_owned();
        fields.error_at("value", codes::INVALID_VALUE, message);
    }
    fields.finish(&[]);
    Some((name?, value?))
}

/// How a path is rewritten.
enum NewPath {
    Full(String),
    /// Replaces the part that matched; without a trailing slash.
    Prefix(String),
}

fn new_path(d: &mut Decoder, node: &Node) -> Option<NewPath> {
    let mut fields = Fields::of(d, node)?;
    let kinds = [("ReplaceFullPath", true), ("ReplacePrefixMatch", false)];
    let full = fields.required("type", |d, node| choice(d, node, "a path change", &kinds))?;
    let path = if full {
        fields
            .required("replaceFullPath", string)
            .map(NewPath::Full)
    } else {
        let prefix = fields.required("replacePrefixMatch", string);
        prefix.map(|prefix| NewPath::Prefix(prefix.trim_end_matches('/').to_owned()))
    };
    fields.finish(&[]);
    path
}

fn redirect(d: &mut Decoder, node: &Node) -> Option<Redirect> {
    let mut fields = Fields::of(d, node)?;
    let schemes = [("http", "http"), ("https", "https")];
    let scheme = fields.optional("scheme", |d, node| choice(d, node, "a scheme", &schemes));
    let hostname = fields.optional("hostname", dns_name);
    let path = fields.optional("path", new_path);
    let port = fields.optional("port", port);
    let code = fields.optional("statusCode", |d, node| {
        let code = integer(300..=399)(d, node)?;
        if ![301, 302, 303, 307, 308].contains(&code) {
            let message = format!("{code} is not a redirect; use 301, 302, 303, 307 or 308");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        u16::try_from(code).ok()
    });
    fields.finish(&[]);
    let (uri, prefix) = match path {
        Some(NewPath::Full(path)) => (Some(path), None),
        Some(NewPath::Prefix(prefix)) => (None, Some(prefix)),
        None => (None, None),
    };
    let derived = match scheme {
        Some(_) => RedirectPort::FromProtocolDefault,
        None => RedirectPort::FromRequestPort,
    };
    Some(Redirect {
        at: d.position(node.mark),
        uri,
        prefix,
        authority: hostname.map(|hostname| hostname.value),
        scheme: scheme.map(str::to_owned),
        port: Some(port.map_or(derived, RedirectPort::Number)),
        code: code.unwrap_or(302),
    })
}

fn rewrite(d: &mut Decoder, node: &Node) -> Option<Rewrite> {
    let mut fields = Fields::of(d, node)?;
    let hostname = fields.optional("hostname", dns_name);
    let path = fields.optional("path", new_path);
    fields.finish(&[]);
    let (uri, uri_regex) = match path {
        Some(NewPath::Full(path)) => (None, Some(whole_path(&path)?)),
        Some(NewPath::Prefix(prefix)) => (Some(prefix), None),
        None => (None, None),
    };
    Some(Rewrite {
        at: d.position(node.mark),
        uri,
        uri_regex,
        authority: hostname.map(|hostname| hostname.value),
    })
}

fn whole_path(path: &str) -> Option<RegexRewrite> {
    Some(RegexRewrite {
        regex: Regex::new("(?s)^.*$").ok()?,
        rewrite: path.replace('\\', "\\\\"),
    })
}

fn mirror(d: &mut Decoder, node: &Node) -> Option<(Mirror, Backend)> {
    let mut fields = Fields::of(d, node)?;
    let reference = fields.required("backendRef", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let reference = reference(&mut fields, node);
        fields.finish(&[]);
        reference
    });
    let share = fields.optional("percent", percent);
    let fraction = fields.optional("fraction", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let numerator = fields.required("numerator", integer(0..=u32::MAX));
        let denominator = fields.optional("denominator", integer(1..=u32::MAX));
        fields.finish(&[]);
        let denominator = denominator.unwrap_or(100);
        let share = 100.0 * f64::from(numerator?) / f64::from(denominator);
        Some(Percent(share.min(100.0)))
    });
    if share.is_some() && fraction.is_some() {
        let message = "`percent` and `fraction` are mutually exclusive; keep one".to_owned();
        fields.error_at("fraction", codes::EXCLUSIVE_FIELDS, message);
    }
    fields.finish(&[]);
    let (destination, backend) = reference?;
    let percentage = share.or(fraction).unwrap_or(Percent(100.0));
    let mirror = Mirror {
        destination,
        percentage,
    };
    Some((mirror, backend))
}

fn cors(d: &mut Decoder, node: &Node) -> Option<CorsPolicy> {
    let mut fields = Fields::of(d, node)?;
    let allow_origins = fields.list("allowOrigins", origin);
    let allow_credentials = fields.optional("allowCredentials", boolean);
    let allow_methods = fields.list("allowMethods", non_empty);
    let allow_headers = fields.list("allowHeaders", non_empty);
    let expose_headers = fields.list("exposeHeaders", non_empty);
    let max_age = fields.optional("maxAge", integer(1..=u32::MAX));
    fields.finish(&[]);
    Some(CorsPolicy {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        // The Gateway API's default.
        max_age: Some(Duration::from_secs(max_age.unwrap_or(5).into())),
        allow_credentials: allow_credentials.unwrap_or(false),
    })
}

/// `https://shop.example`, or with a wildcard in its host.
fn origin(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let text = non_empty(d, node)?;
    if text == "*" || !text.contains('*') {
        return Some(StringMatch::Exact(text));
    }
    let pattern = format!("^{}$", regex::escape(&text).replace("\\*", "[^/]*"));
    let regex = Regex::new(&pattern).ok()?;
    Some(StringMatch::Regex {
        pattern: text,
        regex,
    })
}
