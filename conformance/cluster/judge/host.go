package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// startHost starts a host without manifests.
func startHost(processes *Processes, options Options) (*Server, error) {
	folder := filepath.Join(options.Work, "host")
	manifests, data := filepath.Join(folder, "manifests"), filepath.Join(folder, "data")
	for _, path := range []string{manifests, data} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[1])
	err = processes.Start(folder, "galleria", options.Galleria, "run", manifests, "--data", data,
		"--admin", address, "--status", fmt.Sprintf("127.0.0.1:%d", ports[0]),
		"--free-ports", // Of the gateways that Ingresses make.
		"--components", options.Components)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(data, "admin", "token")
	var read []byte
	err = waitUntil("the host's token", startLimit, func() bool {
		read, err = os.ReadFile(file)
		return err == nil && len(read) > 0
	})
	if err != nil {
		return nil, fmt.Errorf("%w; see the log in %s", err, folder)
	}
	server := newServer("galleria", "https://"+address, strings.TrimSpace(string(read)))
	if err := server.waitUntilReady("/readyz"); err != nil {
		return nil, fmt.Errorf("%w; see the log in %s", err, folder)
	}
	return server, nil
}
