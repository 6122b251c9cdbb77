package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Headers of requests, for the service.
const (
	// The status that the service answers with.
	statusHeader = "x-want-status"
	// How many milliseconds it takes to answer.
	delayHeader = "x-want-delay"
	// By which arrivals belong to a request of the judge; the answer does not show it.
	numberHeader = "x-judge-request"
)

// How long after the last arrival no other one is expected: Envoy sends copies of a request at
// once, but does not wait for them.
const quietTime = 300 * time.Millisecond

// What the service tells about a request.
type seenRequest struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"`
	Host    string            `json:"host"`
	Headers map[string]string `json:"headers"`
}

// Arrival is one attempt or one copy of a request, at the service behind a cluster.
type Arrival struct {
	Cluster string `json:"cluster"`
	Method  string `json:"method"`
	Target  string `json:"target"`
	Host    string `json:"host"`
}

// echoes are the services behind the clusters: each answers with the request as it sees it.
type echoes struct {
	sockets []net.Listener
	mutex   sync.Mutex
	arrived map[string][]Arrival
	latest  time.Time
}

func newEchoes() *echoes {
	return &echoes{arrived: map[string][]Arrival{}}
}

// start opens the service behind a cluster, and returns its port.
func (it *echoes) start(cluster string) (int, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("the service: %w", err)
	}
	it.sockets = append(it.sockets, socket)
	answer := func(writer http.ResponseWriter, request *http.Request) {
		it.note(request, cluster)
		answerEcho(writer, request)
	}
	// It ends with the socket.
	go func() { _ = http.Serve(socket, http.HandlerFunc(answer)) }()
	return socket.Addr().(*net.TCPAddr).Port, nil
}

func (it *echoes) stop() {
	for _, socket := range it.sockets {
		_ = socket.Close()
	}
}

func (it *echoes) note(request *http.Request, cluster string) {
	number := request.Header.Get(numberHeader)
	request.Header.Del(numberHeader)
	it.mutex.Lock()
	defer it.mutex.Unlock()
	it.latest = time.Now()
	it.arrived[number] = append(it.arrived[number], Arrival{
		Cluster: cluster,
		Method:  request.Method,
		Target:  request.RequestURI,
		Host:    request.Host,
	})
}

// settle returns when no further copy of a request is expected.
func (it *echoes) settle() {
	for {
		it.mutex.Lock()
		left := quietTime - time.Since(it.latest)
		it.mutex.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

func answerEcho(writer http.ResponseWriter, request *http.Request) {
	seen := seenRequest{
		Method:  request.Method,
		Target:  request.RequestURI,
		Host:    request.Host,
		Headers: map[string]string{},
	}
	for name, values := range request.Header {
		seen.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	if delay, err := strconv.Atoi(request.Header.Get(delayHeader)); err == nil {
		time.Sleep(time.Duration(delay) * time.Millisecond)
	}
	status, err := strconv.Atoi(request.Header.Get(statusHeader))
	if err != nil {
		status = http.StatusOK
	}
	// For routes to change.
	writer.Header().Set("x-up", "service")
	writer.Header().Set("x-version", "service")
	writer.Header().Set("content-type", "application/json")
	writer.WriteHeader(status)
	_ = json.NewEncoder(writer).Encode(seen)
}
