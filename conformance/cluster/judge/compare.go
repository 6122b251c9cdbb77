package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// workers is how many cases are compared at the same time.
const workers = 6

// untilLimit is how long a row with `until` is repeated.
const untilLimit = 15 * time.Second

// Difference is a row whose answers differ.
type Difference struct {
	Case, Row string
	// What differs: `code`, `reason`, `causes`, or the path of a field.
	What string
	// Of kube-apiserver and of the host.
	Cluster, Host string
}

// compareAll asks both servers for every row, and returns the differences in the order of
// the rows.
func compareAll(cluster, host *Server, cases []Case) []Difference {
	found := make([][]Difference, len(cases))
	next := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for index := range next {
				found[index] = compareCase(cluster, host, cases[index], fmt.Sprintf("c%d", index))
			}
		})
	}
	for index := range cases {
		next <- index
	}
	close(next)
	group.Wait()
	var all []Difference
	for _, it := range found {
		all = append(all, it...)
	}
	return all
}

func compareCase(cluster, host *Server, it Case, namespace string) []Difference {
	for _, server := range []*Server{cluster, host} {
		if err := prepare(server, namespace); err != nil {
			return []Difference{{Case: it.Case, What: "failed", Host: err.Error()}}
		}
	}
	var found []Difference
	for index := range it.Rows {
		row := inNamespace(it.Rows[index], namespace)
		expected, actual, err := answers(cluster, host, &row)
		if err != nil {
			found = append(found, Difference{Case: it.Case, Row: row.Title(), What: "failed", Host: err.Error()})
			break
		}
		if row.Quiet {
			continue
		}
		for _, difference := range compare(&row, expected, actual) {
			difference.Case, difference.Row = it.Case, strings.ReplaceAll(row.Title(), namespace, "{ns}")
			found = append(found, difference)
		}
	}
	for _, server := range []*Server{cluster, host} {
		_, _ = server.Send(&Row{Do: "DELETE /api/v1/namespaces/" + namespace})
	}
	return found
}

// prepare makes the namespace of a case. In the cluster, pods need its service account.
func prepare(server *Server, namespace string) error {
	object := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}}
	answer, err := server.Send(&Row{Do: "POST /api/v1/namespaces", Body: object})
	if err != nil {
		return err
	}
	if answer.Code != http.StatusCreated {
		return fmt.Errorf("%s: cannot create a namespace: %d", server.name, answer.Code)
	}
	if server.name == "galleria" {
		return nil
	}
	path := "GET /api/v1/namespaces/" + namespace
	for _, one := range []string{"/serviceaccounts/default", "/configmaps/kube-root-ca.crt"} {
		err := waitUntil(path+one, startLimit, func() bool {
			answer, err := server.Send(&Row{Do: path + one})
			return err == nil && answer.Code == http.StatusOK
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// answers asks both, again and again if the row waits for a code.
func answers(cluster, host *Server, row *Row) (expected, actual *Answer, err error) {
	end := time.Now().Add(untilLimit)
	for {
		if expected, err = cluster.Send(row); err != nil {
			return nil, nil, err
		}
		if actual, err = host.Send(row); err != nil {
			return nil, nil, err
		}
		ready := expected.Code == row.Until && actual.Code == row.Until
		if row.Until == 0 || ready || time.Now().After(end) {
			return expected, actual, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func inNamespace(row Row, namespace string) Row {
	row.Do = strings.ReplaceAll(row.Do, "{ns}", namespace)
	row.Text = strings.ReplaceAll(row.Text, "{ns}", namespace)
	if row.Body != nil {
		text, _ := json.Marshal(row.Body)
		_ = json.Unmarshal([]byte(strings.ReplaceAll(string(text), "{ns}", namespace)), &row.Body)
	}
	return row
}

// compare returns what differs between two answers to a row.
func compare(row *Row, expected, actual *Answer) []Difference {
	if expected.Code != actual.Code {
		return []Difference{{
			What:    "code",
			Cluster: fmt.Sprint(expected.Code, " ", message(expected)),
			Host:    fmt.Sprint(actual.Code, " ", message(actual)),
		}}
	}
	if row.Only == "code" {
		return nil
	}
	var found []Difference
	if expected.Type != actual.Type {
		found = append(found, Difference{What: "type", Cluster: expected.Type, Host: actual.Type})
	}
	if row.Only == "type" {
		return found
	}
	return append(found, differing("", comparable(row, expected), comparable(row, actual))...)
}

func message(answer *Answer) string {
	if len(answer.Objects) == 0 {
		return strings.TrimSpace(answer.Text)
	}
	object, _ := answer.Objects[0].(map[string]any)
	text, _ := object["message"].(string)
	return text
}

// differing walks two values.
func differing(path string, expected, actual any) []Difference {
	switch expected := expected.(type) {
	case map[string]any:
		if actual, ok := actual.(map[string]any); ok {
			return differingFields(path, expected, actual)
		}
	case []any:
		if actual, ok := actual.([]any); ok && len(actual) == len(expected) {
			var found []Difference
			for index := range expected {
				found = append(found, differing(fmt.Sprintf("%s[%d]", path, index), expected[index], actual[index])...)
			}
			return found
		}
	}
	if text(expected) == text(actual) {
		return nil
	}
	return []Difference{{What: path, Cluster: text(expected), Host: text(actual)}}
}

func differingFields(path string, expected, actual map[string]any) []Difference {
	var found []Difference
	for _, name := range names(expected, actual) {
		below := strings.TrimPrefix(path+"."+name, ".")
		found = append(found, differing(below, expected[name], actual[name])...)
	}
	return found
}

func text(value any) string {
	if value == nil {
		return "-"
	}
	text, _ := json.Marshal(value)
	return string(text)
}
