package main

import (
	"errors"
	"fmt"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/test"
)

// SecurityCase is the policies of a mesh, and requests to one of its workloads.
type SecurityCase struct {
	// Istio's objects, as YAML.
	Policies string            `json:"policies"`
	Workload Workload          `json:"workload"`
	Requests []SecurityRequest `json:"requests"`
	// The headers of the request that the answer tells, as the workload sees them.
	Seen []string `json:"seen"`
}

// Workload is a pod with a sidecar, and its Service.
type Workload struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Account   string            `json:"account"`
	Labels    map[string]string `json:"labels"`
	Address   string            `json:"address"`
	// All of them speak HTTP.
	Ports []int `json:"ports"`
}

// SecurityRequest is one connection with one request.
type SecurityRequest struct {
	Connection
	// HTTP/1.1, as text.
	Text string `json:"text"`
}

// SecurityAnswers is Istio's error if it refuses the policies, and otherwise one answer
// for each request.
type SecurityAnswers struct {
	Refused string   `json:"refused,omitempty"`
	Answers []Answer `json:"answers,omitempty"`
}

func judgeSecurity(cases []SecurityCase, program string) ([]SecurityAnswers, error) {
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	answers := make([]SecurityAnswers, len(cases))
	listeners := make([]*listener.Listener, len(cases))
	each(len(cases), func(number int) {
		built, err := inboundListener(&cases[number])
		if err != nil {
			answers[number].Refused = err.Error()
			return
		}
		listeners[number] = built
	})
	envoy := newEnvoy(authority)
	ports := make([]int, len(cases))
	for number, built := range listeners {
		if built == nil {
			continue
		}
		if err := standAlone(built, cases[number].Seen); err != nil {
			return nil, fmt.Errorf("case %d: %w", number, err)
		}
		if ports[number], err = envoy.add(built); err != nil {
			return nil, fmt.Errorf("case %d: %w", number, err)
		}
	}
	if err := envoy.start(program); err != nil {
		return nil, err
	}
	defer envoy.stop()
	failures := make([]error, len(cases))
	each(len(cases), func(number int) {
		if ports[number] == 0 {
			return
		}
		for _, request := range cases[number].Requests {
			answer, err := ask(authority, ports[number], &request.Connection, request.Text)
			if err != nil {
				failures[number] = fmt.Errorf("case %d: %w", number, err)
				return
			}
			answers[number].Answers = append(answers[number].Answers, answer)
		}
	})
	return answers, errors.Join(failures...)
}

// inboundListener is the listener for everything that reaches the case's workload.
func inboundListener(it *SecurityCase) (*listener.Listener, error) {
	var built *listener.Listener
	err := test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			ConfigString:           it.Policies,
			KubernetesObjectString: it.Workload.objects(),
		})
		proxy := server.SetupProxy(&model.Proxy{
			ID:              it.Workload.Name + "." + it.Workload.Namespace,
			ConfigNamespace: it.Workload.Namespace,
			IPAddresses:     []string{it.Workload.Address},
			Labels:          it.Workload.Labels,
			Metadata: &model.NodeMetadata{
				Namespace:      it.Workload.Namespace,
				Labels:         it.Workload.Labels,
				ServiceAccount: it.Workload.Account,
				ClusterID:      constants.DefaultClusterName,
				IstioVersion:   "1.29.0",
			},
		})
		for _, candidate := range server.Listeners(proxy) {
			if candidate.Name == model.VirtualInboundListenerName {
				built = candidate
			}
		}
		if built == nil {
			t.Fatal("the control plane made no inbound listener")
		}
	})
	return built, err
}

// objects is what a cluster has for the workload.
func (it *Workload) objects() string {
	var labels, servicePorts, endpointPorts strings.Builder
	for name, value := range it.Labels {
		fmt.Fprintf(&labels, "    %s: %q\n", name, value)
	}
	for _, port := range it.Ports {
		fmt.Fprintf(&servicePorts, "  - {name: http-%d, port: %d, targetPort: %d}\n", port, port, port)
		fmt.Fprintf(&endpointPorts, "- {name: http-%d, port: %d}\n", port, port)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %[1]s
  namespace: %[2]s
  labels:
%[4]sspec:
  serviceAccountName: %[3]s
status:
  phase: Running
  podIP: %[5]s
  conditions: [{type: Ready, status: "True"}]
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  clusterIP: 10.255.0.1
  selector:
%[4]s  ports:
%[6]s---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {kubernetes.io/service-name: %[1]s}
addressType: IPv4
endpoints:
- addresses: [%[5]s]
  conditions: {ready: true}
  targetRef: {kind: Pod, name: %[1]s, namespace: %[2]s}
ports:
%[7]s`, it.Name, it.Namespace, it.Account, labels.String(), it.Address,
		servicePorts.String(), endpointPorts.String())
}
