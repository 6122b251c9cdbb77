package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// requestLimit is how long an answer may take.
const requestLimit = 20 * time.Second

// Server is an API server that answers requests.
type Server struct {
	name, url, token string
	client           http.Client
}

// Answer is what a server has answered.
type Answer struct {
	Code    int
	Type    string // The media type.
	Objects []any  // The body: a JSON document, or those of a watch.
	Text    string // The body if it is not JSON.
}

func newServer(name, url, token string) *Server {
	// Both are on the loopback device and have certificates of their own.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 32}
	return &Server{name: name, url: url, token: token, client: http.Client{Transport: transport}}
}

func (s *Server) waitUntilReady(path string) error {
	return waitUntil(s.name, startLimit, func() bool {
		answer, err := s.Send(&Row{Do: "GET " + path})
		return err == nil && answer.Code == http.StatusOK
	})
}

// Send sends the request of a row, whose placeholders are filled in.
func (s *Server) Send(row *Row) (*Answer, error) {
	method, path := row.Request()
	body, err := row.Content()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("User-Agent", "judge/1")
	request.Header.Set("Content-Type", row.ContentType())
	if row.Accept != "" {
		request.Header.Set("Accept", row.Accept)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return parsed(response, read), nil
}

func parsed(response *http.Response, body []byte) *Answer {
	answer := &Answer{Code: response.StatusCode, Type: response.Header.Get("Content-Type")}
	decoder := json.NewDecoder(bytes.NewReader(body))
	for {
		var document any
		err := decoder.Decode(&document)
		if err == io.EOF {
			return answer
		}
		if err != nil {
			answer.Objects, answer.Text = nil, string(body)
			return answer
		}
		answer.Objects = append(answer.Objects, document)
	}
}
