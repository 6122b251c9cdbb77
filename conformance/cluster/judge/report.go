package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// textLimit is how much of a value is printed.
const textLimit = 300

// report prints the differences that are not accepted, and writes all of them to a file. It
// fails if there are any, or if something is accepted that no longer differs.
func report(cases []Case, differences []Difference, accepted []*Accepted, options Options) error {
	open := []Difference{}
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
		file := filepath.Join(options.Work, "differences.json")
		if err := write(file, open); err != nil {
			return err
		}
		return fmt.Errorf("%d differences are not in accepted.yaml; all of them are in %s", len(open), file)
	}
	if options.Only != "" {
		return nil
	}
	return stale(accepted)
}

func write(file string, differences []Difference) error {
	text, err := json.MarshalIndent(differences, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

func cut(text string) string {
	text = strings.ReplaceAll(text, "\n", "\\n")
	if runes := []rune(text); len(runes) > textLimit {
		return string(runes[:textLimit]) + "…"
	}
	return text
}
