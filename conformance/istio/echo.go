package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// The request header that names the status that the service answers with.
const statusHeader = "x-want-status"

// What the service tells about a request.
type seenRequest struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"`
	Host    string            `json:"host"`
	Headers map[string]string `json:"headers"`
}

// startEcho is the service behind every cluster: it answers with the request as it sees it.
func startEcho() (net.Listener, error) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the service: %w", err)
	}
	// It ends with the socket.
	go func() { _ = http.Serve(socket, http.HandlerFunc(answerEcho)) }()
	return socket, nil
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
