package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startLimit is how long a server may take to start.
const startLimit = time.Minute

// Processes are the servers that the judge has started.
type Processes struct{ started []*exec.Cmd }

// Start runs a program whose output goes to NAME.log in a folder. It ends with the judge.
func (p *Processes) Start(folder, name, program string, arguments ...string) error {
	log, err := os.Create(filepath.Join(folder, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = log, log
	command.Dir = folder
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return err
	}
	p.started = append(p.started, command)
	return nil
}

// Stop ends all of them, the one that was started last first.
func (p *Processes) Stop() {
	for index := len(p.started) - 1; index >= 0; index-- {
		_ = p.started[index].Process.Kill()
		_ = p.started[index].Wait()
	}
}

// nextPort is where freePorts begins: a server may take a while to bind its port.
var nextPort = 20000 + os.Getpid()%10000

// freePorts returns ports of the loopback device on which nothing listens, no port twice. They
// are below 32768, so that no client's connection takes one of them before it is bound.
func freePorts(count int) ([]int, error) {
	var ports []int
	for ; nextPort < 32768 && len(ports) < count; nextPort++ {
		port := nextPort
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		listener.Close()
		ports = append(ports, port)
	}
	if len(ports) < count {
		return nil, fmt.Errorf("no %d ports are free", count)
	}
	return ports, nil
}

// waitUntil asks again and again until an answer is true.
func waitUntil(what string, limit time.Duration, done func() bool) error {
	end := time.Now().Add(limit)
	for !done() {
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s", what, limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}
