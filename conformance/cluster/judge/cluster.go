package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
)

// token is that of the control plane's administrator.
const token = "administrator"

// controllers are those whose work a client of the API sees. The others change objects at
// any time, and the host has its own: their results are not compared.
const controllers = "serviceaccount-controller,root-ca-certificate-publisher-controller," +
	"garbage-collector-controller,namespace-controller"

// startCluster starts etcd, kube-apiserver and kube-controller-manager.
func startCluster(processes *Processes, options Options) (*Server, error) {
	folder := filepath.Join(options.Work, "cluster")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	url := func(scheme string, port int) string { return fmt.Sprintf("%s://127.0.0.1:%d", scheme, port) }
	server := newServer("kube-apiserver", url("https", ports[2]), token)
	if err := writeClusterFiles(folder, server.url); err != nil {
		return nil, err
	}
	etcd := url("http", ports[0])
	err = processes.Start(folder, "etcd", options.Cluster, "etcd",
		filepath.Join(folder, "etcd"), etcd, url("http", ports[1]))
	if err != nil {
		return nil, err
	}
	err = processes.Start(folder, "kube-apiserver", options.Cluster, "kube-apiserver",
		"--etcd-servers="+etcd, "--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", ports[2]),
		"--advertise-address=10.96.0.1", "--endpoint-reconciler-type=none", "--cert-dir=certificates",
		"--service-cluster-ip-range=10.96.0.0/12", "--authorization-mode=RBAC",
		"--token-auth-file=tokens.csv", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=key.pem", "--service-account-signing-key-file=key.pem")
	if err != nil {
		return nil, err
	}
	if err := server.waitUntilReady("/readyz"); err != nil {
		return nil, fmt.Errorf("%w; see the logs in %s", err, folder)
	}
	return server, processes.Start(folder, "kube-controller-manager", options.Cluster,
		"kube-controller-manager", "--kubeconfig=kubeconfig", "--leader-elect=false",
		"--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", ports[3]), "--cert-dir=certificates",
		"--service-account-private-key-file=key.pem", "--root-ca-file=certificates/apiserver.crt",
		"--controllers="+controllers)
}

func writeClusterFiles(folder, url string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, url, token)
	for name, text := range map[string][]byte{
		"key.pem":    pem.EncodeToMemory(&block),
		"tokens.csv": []byte(token + `,administrator,1,"system:masters"` + "\n"),
		"kubeconfig": []byte(kubeconfig),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
