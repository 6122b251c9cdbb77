package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/util/sets"
)

// RoutingCase is the routes of a mesh, and requests through some of its proxies.
type RoutingCase struct {
	// Istio's objects and those of Kubernetes, as YAML.
	Istio      string           `json:"istio"`
	Kubernetes string           `json:"kubernetes"`
	Proxies    []Proxy          `json:"proxies"`
	Requests   []RoutingRequest `json:"requests"`
}

// Proxy is a gateway, or the sidecar of a workload that calls others.
type Proxy struct {
	Gateway   bool              `json:"gateway"`
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
	Address   string            `json:"address"`
}

// RoutingRequest is one request.
type RoutingRequest struct {
	// The number of the proxy.
	Proxy int `json:"proxy"`
	// The port of the gateway, or the port that the workload calls.
	Port int `json:"port"`
	// HTTP/1.1, as text.
	Text string `json:"text"`
}

// RoutingAnswers is Istio's error if it refuses the objects, and otherwise one answer for
// each request. A connection is closed where the proxy has no routes for the port.
type RoutingAnswers struct {
	Refused string   `json:"refused,omitempty"`
	Answers []Answer `json:"answers,omitempty"`
}

// served is the routes of a proxy for one port.
type served struct {
	proxy, port int
}

func judgeRouting(cases []RoutingCase, program string) ([]RoutingAnswers, error) {
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	services := newEchoes()
	defer services.stop()
	answers := make([]RoutingAnswers, len(cases))
	routes := make([]map[served]*route.RouteConfiguration, len(cases))
	each(len(cases), func(number int) {
		built, err := routesOf(&cases[number])
		if err != nil {
			answers[number].Refused = err.Error()
		}
		routes[number] = built
	})
	envoy := newEnvoy(authority)
	ports := make([]map[served]int, len(cases))
	leads := sets.New[string]()
	for number, built := range routes {
		ports[number] = map[served]int{}
		for to, configuration := range built {
			collectClusters(configuration, leads)
			isGateway := cases[number].Proxies[to.proxy].Gateway
			if ports[number][to], err = envoy.add(routingListener(configuration, isGateway)); err != nil {
				return nil, fmt.Errorf("case %d: %w", number, err)
			}
		}
	}
	for _, name := range sets.SortedList(leads) {
		port, err := services.start(name)
		if err != nil {
			return nil, err
		}
		envoy.clusters = append(envoy.clusters, leadTo(name, port))
	}
	if err := envoy.start(program); err != nil {
		return nil, err
	}
	defer envoy.stop()
	failures := make([]error, len(cases))
	each(len(cases), func(number int) {
		if answers[number].Refused != "" {
			return
		}
		for index, request := range cases[number].Requests {
			answer := Answer{Closed: true}
			if port := ports[number][served{request.Proxy, request.Port}]; port != 0 {
				var err error
				if answer, err = askPlain(port, numbered(request.Text, number, index)); err != nil {
					failures[number] = fmt.Errorf("case %d: %w", number, err)
					return
				}
			}
			answers[number].Answers = append(answers[number].Answers, answer)
		}
	})
	services.settle()
	for number := range answers {
		for index := range answers[number].Answers {
			answers[number].Answers[index].Arrivals = services.arrived[requestNumber(number, index)]
		}
	}
	return answers, errors.Join(failures...)
}

// numbered adds the header by which the services tell requests apart.
func numbered(text string, number, index int) string {
	header := fmt.Sprintf("\r\n%s: %s\r\n", numberHeader, requestNumber(number, index))
	return strings.Replace(text, "\r\n", header, 1)
}

func requestNumber(number, index int) string {
	return fmt.Sprintf("%d-%d", number, index)
}

func askPlain(port int, text string) (Answer, error) {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), patience)
	if err != nil {
		return Answer{}, err
	}
	defer connection.Close()
	return exchange(connection, text)
}

// routesOf lets the control plane make the routes of all proxies.
func routesOf(it *RoutingCase) (map[served]*route.RouteConfiguration, error) {
	built := map[served]*route.RouteConfiguration{}
	err := test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			Configs:                parse(t, it.Istio),
			KubernetesObjectString: it.Kubernetes,
		})
		for number := range it.Proxies {
			proxy := server.SetupProxy(it.Proxies[number].model())
			known := sets.New[string]()
			for _, cluster := range server.Clusters(proxy) {
				known.Insert(cluster.Name)
			}
			for _, configuration := range server.Routes(proxy) {
				if port, ok := routedPort(configuration.Name); ok {
					standAloneRoutes(configuration, known)
					built[served{number, port}] = configuration
				}
			}
		}
	})
	return built, err
}

// parse reads and validates objects, with the domain that a cluster gives them.
func parse(t test.Failer, text string) []config.Config {
	configs, _, err := crd.ParseInputs(text)
	if err != nil {
		t.Fatal(err)
	}
	for number := range configs {
		configs[number].Domain = constants.DefaultClusterLocalDomain
	}
	return configs
}

// routedPort is the port in the name of a route configuration: `http.80` of a gateway, `80`
// of a sidecar.
func routedPort(name string) (int, bool) {
	if len(name) > 5 && name[:5] == "http." {
		name = name[5:]
	}
	port, err := strconv.Atoi(name)
	return port, err == nil
}

func (it *Proxy) model() *model.Proxy {
	kind := model.SidecarProxy
	if it.Gateway {
		kind = model.Router
	}
	return &model.Proxy{
		Type:            kind,
		ID:              it.Name + "." + it.Namespace,
		ConfigNamespace: it.Namespace,
		IPAddresses:     []string{it.Address},
		Labels:          it.Labels,
		DNSDomain:       it.Namespace + ".svc." + constants.DefaultClusterLocalDomain,
		Metadata: &model.NodeMetadata{
			Namespace:    it.Namespace,
			Labels:       it.Labels,
			ClusterID:    constants.DefaultClusterName,
			IstioVersion: "1.29.0",
		},
	}
}
