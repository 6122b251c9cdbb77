package main

import (
	"fmt"
	"path/filepath"
	"regexp"
)

// Accepted is a kind of difference that stays, with its reason.
type Accepted struct {
	// What users of the API notice, and why. docs/COMPATIBILITY.md says the same.
	Difference, Reason string
	// Every difference of the kind matches one of these.
	Where []*Pattern
}

// Pattern has regular expressions that match the whole of a part of a difference. An absent
// one matches everything, but what differs and both values are always said: what else may be
// different there later is not accepted.
type Pattern struct {
	Case, Row, What string
	// The values of kube-apiserver and of the host, `-` if there is none.
	Cluster, Host string

	patterns []*regexp.Regexp
	used     bool
}

func readAccepted(folder string) ([]*Accepted, error) {
	var accepted []*Accepted
	if err := readYAML(filepath.Join(folder, "accepted.yaml"), &accepted); err != nil {
		return nil, err
	}
	for _, it := range accepted {
		if it.Difference == "" || it.Reason == "" {
			return nil, fmt.Errorf("accepted.yaml: a difference has no name or no reason: %q", it.Difference)
		}
		for _, pattern := range it.Where {
			if err := pattern.compile(); err != nil {
				return nil, fmt.Errorf("accepted.yaml: %s: %w", it.Difference, err)
			}
		}
	}
	return accepted, nil
}

func (p *Pattern) compile() error {
	if p.What == "" || p.Cluster == "" || p.Host == "" {
		return fmt.Errorf("`what`, `cluster` or `host` is absent: %s", p)
	}
	for _, text := range []string{p.Case, p.Row, p.What, p.Cluster, p.Host} {
		if text == "" {
			text = ".*"
		}
		pattern, err := regexp.Compile("^(?s:" + text + ")$")
		if err != nil {
			return err
		}
		p.patterns = append(p.patterns, pattern)
	}
	return nil
}

// accepts remembers that there is an example.
func (p *Pattern) accepts(difference Difference) bool {
	parts := []string{difference.Case, difference.Row, difference.What, difference.Cluster, difference.Host}
	for index, text := range parts {
		if !p.patterns[index].MatchString(text) {
			return false
		}
	}
	p.used = true
	return true
}

func (p *Pattern) String() string {
	return fmt.Sprintf("{case: %q, row: %q, what: %q, cluster: %q, host: %q}", p.Case, p.Row, p.What, p.Cluster, p.Host)
}

// isAccepted asks all patterns, so that each knows whether it has an example.
func isAccepted(difference Difference, accepted []*Accepted) bool {
	found := false
	for _, it := range accepted {
		for _, pattern := range it.Where {
			found = pattern.accepts(difference) || found
		}
	}
	return found
}

// stale fails if a pattern has no example any more: what it describes is the same now, or has
// become another difference.
func stale(accepted []*Accepted) error {
	var unused []string
	for _, it := range accepted {
		for _, pattern := range it.Where {
			if !pattern.used {
				unused = append(unused, fmt.Sprintf("%s: %s", it.Difference, pattern))
			}
		}
	}
	for _, it := range unused {
		fmt.Println("accepted, but nothing differs so:", it)
	}
	if len(unused) > 0 {
		return fmt.Errorf("%d patterns of accepted.yaml match nothing; remove them", len(unused))
	}
	return nil
}
