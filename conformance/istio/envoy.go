package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// Ports below those that systems give to outgoing connections.
const firstPort, lastPort = 20000, 32000

// How long Envoy may take to start with a few hundred listeners.
const startup = 60 * time.Second

// Envoy is one process with a listener for each case.
type Envoy struct {
	authority *Authority
	listeners []*listener.Listener
	clusters  []*cluster.Cluster
	port      int
	folder    string
	process   *exec.Cmd
	output    bytes.Buffer
	ended     chan error
}

func newEnvoy(authority *Authority) *Envoy {
	return &Envoy{authority: authority, port: firstPort}
}

// add gives the listener an address, and returns its port.
func (it *Envoy) add(built *listener.Listener) (int, error) {
	port, err := it.freePort()
	if err != nil {
		return 0, err
	}
	built.Address = address(port)
	built.Name = fmt.Sprintf("%s-%d", built.Name, port)
	it.listeners = append(it.listeners, built)
	return port, nil
}

func address(port int) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address:       "127.0.0.1",
		PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func (it *Envoy) freePort() (int, error) {
	for it.port < lastPort {
		it.port++
		probe, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", it.port))
		if err == nil {
			return it.port, probe.Close()
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d", firstPort, lastPort)
}

// start runs the program, and returns when it accepts connections.
func (it *Envoy) start(program string) error {
	if len(it.listeners) == 0 {
		return nil
	}
	configuration, err := it.configuration()
	if err != nil {
		return err
	}
	if it.folder, err = os.MkdirTemp("", "judge"); err != nil {
		return err
	}
	file := filepath.Join(it.folder, "envoy.json")
	if err := os.WriteFile(file, configuration, 0o600); err != nil {
		return err
	}
	it.process = exec.Command(program, "-c", file, "--concurrency", "2", "-l", "error",
		"--disable-hot-restart", "--use-dynamic-base-id")
	it.process.Stderr = &it.output
	if err := it.process.Start(); err != nil {
		return err
	}
	it.ended = make(chan error, 1)
	go func() { it.ended <- it.process.Wait() }()
	return it.untilReady()
}

// untilReady waits for the last listener: Envoy opens them in order, when all are valid.
func (it *Envoy) untilReady() error {
	last := fmt.Sprintf("127.0.0.1:%d", it.port)
	for deadline := time.Now().Add(startup); time.Now().Before(deadline); {
		select {
		case err := <-it.ended:
			it.ended <- err
			return fmt.Errorf("envoy ended (%v), configuration %s:\n%s", err, it.folder, it.output.String())
		case <-time.After(50 * time.Millisecond):
		}
		if probe, err := net.Dial("tcp", last); err == nil {
			return probe.Close()
		}
	}
	return fmt.Errorf("envoy does not listen on %s after %s", last, startup)
}

func (it *Envoy) stop() {
	if it.process == nil {
		return
	}
	_ = it.process.Process.Kill()
	<-it.ended
	_ = os.RemoveAll(it.folder)
}

func (it *Envoy) configuration() ([]byte, error) {
	secrets, err := it.secrets()
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(&bootstrap.Bootstrap{
		Node: &core.Node{Id: "judge", Cluster: "judge"},
		StaticResources: &bootstrap.Bootstrap_StaticResources{
			Listeners: it.listeners,
			Clusters:  it.clusters,
			Secrets:   secrets,
		},
	})
}

// secrets have the names that Istio's listeners use.
func (it *Envoy) secrets() ([]*tlsv3.Secret, error) {
	own, err := it.authority.workload("spiffe://cluster.local/ns/judge/sa/server")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalECPrivateKey(own.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return nil, err
	}
	return []*tlsv3.Secret{{
		Name: "default",
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(encode("CERTIFICATE", own.Certificate[0])),
			PrivateKey:       inline(encode("EC PRIVATE KEY", key)),
		}},
	}, {
		Name: "ROOTCA",
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: inline(it.authority.roots()),
		}},
	}}, nil
}

func inline(text string) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: text}}
}
