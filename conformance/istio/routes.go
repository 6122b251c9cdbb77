package main

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"istio.io/istio/pilot/pkg/util/protoconv"
	"istio.io/istio/pkg/util/sets"
	"istio.io/istio/pkg/wellknown"
)

// The header of a response that names the cluster that Envoy chose.
const clusterHeader = "x-judge-cluster"

// More retries than there are requests at once.
const retriesMax = 1000

// The prefix of the name of a cluster that the control plane did not make. Envoy does not
// have it either.
const missing = "missing:"

// standAloneRoutes changes the routes of a proxy so that a plain Envoy has them beside those
// of other cases. Everything that decides about a request stays as Istio made it.
func standAloneRoutes(it *route.RouteConfiguration, known sets.String) {
	it.ValidateClusters = wrapperspb.Bool(false)
	it.ResponseHeadersToAdd = append(it.ResponseHeadersToAdd, setHeader(clusterHeader, "%UPSTREAM_CLUSTER_RAW%"))
	eachRoute(it, func(one *route.Route) {
		one.Metadata = nil
		one.Decorator = nil
		for name := range one.TypedPerFilterConfig {
			if name != wellknown.Fault && name != wellknown.CORS {
				delete(one.TypedPerFilterConfig, name)
			}
		}
		eachCluster(one, func(name *string) {
			if !known.Contains(*name) {
				*name = missing + *name
			}
		})
	})
}

func collectClusters(it *route.RouteConfiguration, names sets.String) {
	eachRoute(it, func(one *route.Route) {
		eachCluster(one, func(name *string) {
			if len(*name) < len(missing) || (*name)[:len(missing)] != missing {
				names.Insert(*name)
			}
		})
	})
}

func eachRoute(it *route.RouteConfiguration, do func(*route.Route)) {
	for number, host := range it.VirtualHosts {
		// The control plane shares routes between configurations.
		host = proto.Clone(host).(*route.VirtualHost)
		it.VirtualHosts[number] = host
		for _, one := range host.Routes {
			do(one)
		}
	}
}

func eachCluster(one *route.Route, do func(name *string)) {
	action := one.GetRoute()
	if action == nil {
		return
	}
	if single, ok := action.ClusterSpecifier.(*route.RouteAction_Cluster); ok {
		do(&single.Cluster)
	}
	for _, weighted := range action.GetWeightedClusters().GetClusters() {
		do(&weighted.Name)
	}
	for _, mirror := range action.RequestMirrorPolicies {
		do(&mirror.Cluster)
	}
}

// routingListener serves routes with the filters of Istio that decide about routing, in
// Istio's order.
func routingListener(routes *route.RouteConfiguration, isGateway bool) *listener.Listener {
	manager := &hcm.HttpConnectionManager{
		StatPrefix:                   "judge",
		UseRemoteAddress:             wrapperspb.Bool(isGateway),
		NormalizePath:                wrapperspb.Bool(true),
		PathWithEscapedSlashesAction: hcm.HttpConnectionManager_KEEP_UNCHANGED,
		RouteSpecifier:               &hcm.HttpConnectionManager_RouteConfig{RouteConfig: routes},
		HttpFilters: []*hcm.HttpFilter{
			filter(wellknown.Fault, &fault.HTTPFault{}),
			filter(wellknown.CORS, &corsfilter.Cors{}),
			filter(wellknown.Router, &router.Router{}),
		},
	}
	return &listener.Listener{
		Name: "routes",
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name:       wellknown.HTTPConnectionManager,
			ConfigType: &listener.Filter_TypedConfig{TypedConfig: protoconv.MessageToAny(manager)},
		}}}},
	}
}

func filter(name string, settings proto.Message) *hcm.HttpFilter {
	return &hcm.HttpFilter{
		Name:       name,
		ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: protoconv.MessageToAny(settings)},
	}
}

// leadTo is a cluster with one endpoint on this machine.
func leadTo(name string, port int) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(patience),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		// All cases share the cluster, and the limit of retries at once too.
		CircuitBreakers: &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
			MaxRetries: wrapperspb.UInt32(retriesMax),
		}}},
		LoadAssignment: &endpoint.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
				HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
					Address: address(port),
				}},
			}}}},
		},
	}
}
