package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Case is a sequence of requests in a namespace of its own.
type Case struct {
	Case string
	Rows []Row
}

// Row is one request.
type Row struct {
	// What is asked, if the request does not say it.
	Name string
	// The method and the path. `{ns}` is the namespace of the case.
	Do string
	// The body: a value, or text that is not JSON.
	Body any
	Text string
	// The type of the body, by default JSON: `merge`, `json`, `strategic`, `apply` for
	// patches, or a media type.
	Type string
	// The header Accept.
	Accept string
	// Repeats the request until both servers have answered with this code.
	Until int
	// What is compared besides the default: `managers`, `status`.
	Also []string
	// Compares only the `code`, or the code and the `type`.
	Only string
	// The state of the case has to be as wished, the answer is not compared.
	Quiet bool
}

var mediaTypes = map[string]string{
	"":          "application/json",
	"json":      "application/json-patch+json",
	"merge":     "application/merge-patch+json",
	"strategic": "application/strategic-merge-patch+json",
	"apply":     "application/apply-patch+yaml",
}

// ContentType is the header of the request.
func (r *Row) ContentType() string {
	if known, ok := mediaTypes[r.Type]; ok {
		return known
	}
	return r.Type
}

// Request is the method and the path.
func (r *Row) Request() (method, path string) {
	method, path, _ = strings.Cut(r.Do, " ")
	return method, path
}

// Content is the body of the request.
func (r *Row) Content() ([]byte, error) {
	switch {
	case r.Text != "":
		return []byte(padded(r.Text)), nil
	case r.Body == nil:
		return nil, nil
	default:
		return json.Marshal(r.Body)
	}
}

var padding = regexp.MustCompile(`\{(\d+)\}`)

// padded replaces `{NUMBER}` by as many letters.
func padded(text string) string {
	return padding.ReplaceAllStringFunc(text, func(match string) string {
		count, _ := strconv.Atoi(strings.Trim(match, "{}"))
		return strings.Repeat("x", count)
	})
}

// Title names a row within its case.
func (r *Row) Title() string {
	if r.Name != "" {
		return r.Name
	}
	return r.Do
}

func (r *Row) also(what string) bool {
	for _, it := range r.Also {
		if it == what {
			return true
		}
	}
	return false
}

// readTables reads the cases of all tables, and makes those of every kind.
func readTables(folder string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(folder, "cases", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, file := range files {
		var read []Case
		if err := readYAML(file, &read); err != nil {
			return nil, err
		}
		cases = append(cases, read...)
	}
	of, err := casesOfKinds(folder)
	if err != nil {
		return nil, err
	}
	cases = append(cases, of...)
	seen := map[string]bool{}
	for _, it := range cases {
		if it.Case == "" || len(it.Rows) == 0 || seen[it.Case] {
			return nil, fmt.Errorf("%s: a case needs a name of its own, and rows: %q", folder, it.Case)
		}
		seen[it.Case] = true
	}
	return cases, nil
}

func readYAML(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func selected(cases []Case, only string) []Case {
	var found []Case
	for _, it := range cases {
		if strings.Contains(it.Case, only) {
			found = append(found, it)
		}
	}
	return found
}
