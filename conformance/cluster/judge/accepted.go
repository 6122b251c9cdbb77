package main

import (
	"fmt"
	"path/filepath"
	"regexp"
)

// Accepted is a kind of difference that stays, with its reason.
type Accepted struct {
	// Regular expressions that match the whole of a case, a row, and what differs; empty ones
	// match everything.
	Case, Row, What string
	// Why both differ. docs/COMPATIBILITY.md says it to users.
	Reason string

	patterns [3]*regexp.Regexp
	used     bool
}

func readAccepted(folder string) ([]*Accepted, error) {
	var accepted []*Accepted
	if err := readYAML(filepath.Join(folder, "accepted.yaml"), &accepted); err != nil {
		return nil, err
	}
	for _, it := range accepted {
		if it.Reason == "" {
			return nil, fmt.Errorf("accepted.yaml: a difference has no reason: %s %s", it.Case, it.What)
		}
		for index, text := range []string{it.Case, it.Row, it.What} {
			if text == "" {
				text = ".*"
			}
			pattern, err := regexp.Compile("^(?:" + text + ")$")
			if err != nil {
				return nil, fmt.Errorf("accepted.yaml: %w", err)
			}
			it.patterns[index] = pattern
		}
	}
	return accepted, nil
}

// accepts remembers that there is an example.
func (a *Accepted) accepts(difference Difference) bool {
	for index, text := range []string{difference.Case, difference.Row, difference.What} {
		if !a.patterns[index].MatchString(text) {
			return false
		}
	}
	a.used = true
	return true
}
