package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Connection is how a request reaches the workload.
type Connection struct {
	// The SPIFFE ID of the caller; without one, the connection is plain text.
	Identity string `json:"identity"`
	// The server name that the caller sends.
	ServerName string `json:"serverName"`
	// The address of the caller, in 127.0.0.0/8: Envoy sees the real one.
	Source string `json:"source"`
	// The address and the port of the workload.
	Destination string `json:"destination"`
	Port        int    `json:"port"`
}

// Answer is a response, or the end of the connection before one.
type Answer struct {
	Closed bool `json:"closed,omitempty"`
	Status int  `json:"status,omitempty"`
	// With the values of repeated headers joined.
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// Of routing: what the services have seen of the request, in no order.
	Arrivals []Arrival `json:"arrivals,omitempty"`
}

const patience = 20 * time.Second

// ask sends one request to a listener.
func ask(authority *Authority, port int, to *Connection, text string) (Answer, error) {
	dialer := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.ParseIP(to.Source)},
		Timeout:   patience,
	}
	connection, err := dialer.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return Answer{}, err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return Answer{}, err
	}
	// Tells Envoy the destination, which a cluster redirects to it.
	source := connection.LocalAddr().(*net.TCPAddr)
	fmt.Fprintf(connection, "PROXY TCP4 %s %s %d %d\r\n", source.IP, to.Destination, source.Port, to.Port)
	if to.Identity != "" {
		certificate, err := authority.workload(to.Identity)
		if err != nil {
			return Answer{}, err
		}
		connection = tls.Client(connection, &tls.Config{
			Certificates: []tls.Certificate{*certificate},
			ServerName:   to.ServerName,
			// What Istio's own proxies offer.
			NextProtos: []string{"istio-http/1.1", "istio", "http/1.1"},
			// Who serves is not in question.
			InsecureSkipVerify: true,
		})
	}
	return exchange(connection, text)
}

func exchange(connection net.Conn, text string) (Answer, error) {
	if _, err := io.WriteString(connection, text); err != nil {
		return closed(err)
	}
	method, _, _ := strings.Cut(text, " ")
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
	if err != nil {
		return closed(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return closed(err)
	}
	headers := map[string]string{}
	for name, values := range response.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return Answer{Status: response.StatusCode, Headers: headers, Body: string(body)}, nil
}

// closed is the answer of a connection that ends, and the error of one that does not.
func closed(err error) (Answer, error) {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return Answer{}, fmt.Errorf("no answer within %s: %w", patience, err)
	}
	return Answer{Closed: true}, nil
}
