//! `gatewayTopology` of Istio's ProxyConfig: what is in front of a gateway.

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatewayTopology {
    /// How many proxies in front of the gateway are trusted; `None` if it is not set.
    pub num_trusted_proxies: Option<u32>,
    /// `None` if it is not set, or `UNDEFINED`.
    pub forward_client_cert_details: Option<ForwardClientCertDetails>,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// What services receive in `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ForwardClientCertDetails {
    /// Nothing.
    Sanitize,
    /// What the client sends, if it has presented a certificate.
    ForwardOnly,
    /// What the client sends, and the certificate that it has presented.
    AppendForward,
    /// The certificate that the client has presented. The default of Istio's gateways.
    #[default]
    SanitizeSet,
    /// What the client sends.
    AlwaysForwardOnly,
}
