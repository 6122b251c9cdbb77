package main

import (
	"fmt"
	"strings"
)

// textLimit is how much of a value is printed.
const textLimit = 300

// report prints the differences that are not accepted. It fails if there are any, or if
// something is accepted that no longer differs.
func report(cases []Case, differences []Difference, accepted []*Accepted, options Options) error {
	var open []Difference
	for _, difference := range differences {
		if !isAccepted(difference, accepted) {
			open = append(open, difference)
		}
	}
	requests := 0
	for _, it := range cases {
		requests += len(it.Rows)
	}
	for index, difference := range open {
		if index == options.Show {
			fmt.Printf("… and %d more (--show)\n", len(open)-index)
			break
		}
		fmt.Printf("%s\n  %s\n    %s\n      kube-apiserver: %s\n      galleria:       %s\n", difference.Case,
			difference.Row, difference.What, cut(difference.Cluster), cut(difference.Host))
	}
	fmt.Printf("%d cases, %d requests: %d differences, %d of them accepted\n", len(cases), requests,
		len(differences), len(differences)-len(open))
	if len(open) > 0 {
		return fmt.Errorf("%d differences are not in accepted.yaml", len(open))
	}
	return stale(accepted, options)
}

func isAccepted(difference Difference, accepted []*Accepted) bool {
	found := false
	for _, it := range accepted {
		found = it.accepts(difference) || found
	}
	return found
}

// stale fails if something that is accepted has no example any more.
func stale(accepted []*Accepted, options Options) error {
	if options.Only != "" {
		return nil
	}
	for _, it := range accepted {
		if !it.used {
			return fmt.Errorf("nothing differs as accepted.yaml says: %q %q %q; remove it", it.Case, it.Row, it.What)
		}
	}
	return nil
}

func cut(text string) string {
	text = strings.ReplaceAll(text, "\n", "\\n")
	if runes := []rune(text); len(runes) > textLimit {
		return string(runes[:textLimit]) + "…"
	}
	return text
}
