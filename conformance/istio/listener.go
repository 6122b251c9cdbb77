package main

import (
	"slices"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	proxyprotocol "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"istio.io/istio/pilot/pkg/util/protoconv"
	"istio.io/istio/pkg/wellknown"
)

// What an answer has besides the headers that Envoy itself sets.
const (
	// The prefix of a header of the request, as the workload sees it.
	seenPrefix = "x-seen-"
	// Why Envoy refused the request, as in its access log.
	detailsHeader = "x-details"
)

// The filters whose decisions are judged. Istio's other filters report, and a plain Envoy
// does not have them.
var judged = []string{"envoy.filters.http.jwt_authn", wellknown.HTTPRoleBasedAccessControl, wellknown.Router}

// The inspectors of connections, by which Istio's filter chains are chosen.
var inspectors = []string{wellknown.TLSInspector, wellknown.HTTPInspector}

// standAlone changes a listener of a sidecar so that a plain Envoy serves it: without redirected connections, without a workload behind it. Which filter
// chain a connection gets, and the judged filters, stay as Istio made them.
func standAlone(it *listener.Listener, seen []string) error {
	it.AdditionalAddresses = nil
	it.AccessLog = nil
	it.UseOriginalDst = nil
	it.BindToPort = nil
	it.ConnectionBalanceConfig = nil
	it.ListenerFilters = slices.DeleteFunc(it.ListenerFilters, func(filter *listener.ListenerFilter) bool {
		return !slices.Contains(inspectors, filter.Name)
	})
	destination := &listener.ListenerFilter{
		Name: "envoy.filters.listener.proxy_protocol",
		ConfigType: &listener.ListenerFilter_TypedConfig{
			TypedConfig: protoconv.MessageToAny(&proxyprotocol.ProxyProtocol{}),
		},
	}
	it.ListenerFilters = slices.Insert(it.ListenerFilters, 0, destination)
	var chains []*listener.FilterChain
	for _, chain := range it.FilterChains {
		isHTTP, err := answerItself(chain, seen)
		if err != nil {
			return err
		}
		if isHTTP {
			chains = append(chains, chain)
		}
	}
	it.FilterChains = chains
	return nil
}

// answerItself reduces a filter chain to the judged filters, with an answer of Envoy's own
// instead of the workload's. It reports whether the chain is for HTTP.
func answerItself(chain *listener.FilterChain, seen []string) (bool, error) {
	manager := &hcm.HttpConnectionManager{}
	isManager := func(filter *listener.Filter) bool { return filter.GetTypedConfig().MessageIs(manager) }
	found := slices.IndexFunc(chain.Filters, isManager)
	if found < 0 {
		return false, nil
	}
	if err := chain.Filters[found].GetTypedConfig().UnmarshalTo(manager); err != nil {
		return false, err
	}
	manager.AccessLog = nil
	manager.Tracing = nil
	manager.HttpFilters = slices.DeleteFunc(manager.HttpFilters, func(filter *hcm.HttpFilter) bool {
		return !slices.Contains(judged, filter.Name)
	})
	manager.RouteSpecifier = &hcm.HttpConnectionManager_RouteConfig{RouteConfig: echo(seen)}
	manager.LocalReplyConfig = tellDetails()
	chain.Filters = []*listener.Filter{{
		Name:       wellknown.HTTPConnectionManager,
		ConfigType: &listener.Filter_TypedConfig{TypedConfig: protoconv.MessageToAny(manager)},
	}}
	chain.Metadata = nil
	return true, useOwnCertificates(chain)
}

// useOwnCertificates takes certificates from this configuration, not from Istio's agent.
func useOwnCertificates(chain *listener.FilterChain) error {
	if chain.TransportSocket == nil {
		return nil
	}
	context := &tlsv3.DownstreamTlsContext{}
	if err := chain.TransportSocket.GetTypedConfig().UnmarshalTo(context); err != nil {
		return err
	}
	common := context.CommonTlsContext
	for _, secret := range common.TlsCertificateSdsSecretConfigs {
		secret.SdsConfig = nil
	}
	validation := common.GetCombinedValidationContext().GetValidationContextSdsSecretConfig()
	if validation != nil {
		validation.SdsConfig = nil
	}
	chain.TransportSocket.ConfigType = &core.TransportSocket_TypedConfig{
		TypedConfig: protoconv.MessageToAny(context),
	}
	return nil
}

// echo answers every request with 200, and with what the workload would have seen of it.
func echo(seen []string) *route.RouteConfiguration {
	var headers []*core.HeaderValueOption
	for _, name := range append([]string{":path"}, seen...) {
		header := seenPrefix + name
		if name == ":path" {
			header = seenPrefix + "path"
		}
		headers = append(headers, setHeader(header, "%REQ("+name+")%"))
	}
	return &route.RouteConfiguration{
		Name: "echo",
		VirtualHosts: []*route.VirtualHost{{
			Name:    "echo",
			Domains: []string{"*"},
			Routes: []*route.Route{{
				Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: ""}},
				Action: &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{
					Status: 200,
				}},
				ResponseHeadersToAdd: headers,
			}},
		}},
	}
}

// tellDetails adds Envoy's reason to what it refuses.
func tellDetails() *hcm.LocalReplyConfig {
	refused := &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslog.StatusCodeFilter{Comparison: &accesslog.ComparisonFilter{
			Op:    accesslog.ComparisonFilter_GE,
			Value: &core.RuntimeUInt32{DefaultValue: 400, RuntimeKey: "refused"},
		}},
	}}
	return &hcm.LocalReplyConfig{Mappers: []*hcm.ResponseMapper{{
		Filter:       refused,
		HeadersToAdd: []*core.HeaderValueOption{setHeader(detailsHeader, "%RESPONSE_CODE_DETAILS%")},
	}}}
}

func setHeader(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
