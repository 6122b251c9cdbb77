// The judge: Istio's control plane and a real Envoy decide about requests.
//
// It reads cases from a file, lets Istio's control plane make the configuration of each case's
// proxies, runs one Envoy with all of it, sends the requests of the cases, and writes the
// answers to a file. It knows nothing about Galleria.
//
// Each kind of case has a file of its own (security.go, routing.go,
// validation.go); the other files serve them all.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"

	"istio.io/istio/pkg/log"
)

// Cases is what the judge reads.
type Cases struct {
	Security   []SecurityCase   `json:"security"`
	Routing    []RoutingCase    `json:"routing"`
	Validation []ValidationCase `json:"validation"`
}

// Answers is what the judge writes, in the order of the cases.
type Answers struct {
	Security   []SecurityAnswers   `json:"security"`
	Routing    []RoutingAnswers    `json:"routing"`
	Validation []ValidationAnswers `json:"validation"`
}

// The number of cases that are judged at once.
const workers = 4

func main() {
	cases := flag.String("cases", "", "the file with the cases")
	answers := flag.String("answers", "", "the file for the answers")
	envoy := flag.String("envoy", "", "the program of Envoy")
	flag.Parse()
	if err := run(*cases, *answers, *envoy); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(cases, answers, envoy string) error {
	quiet()
	text, err := os.ReadFile(cases)
	if err != nil {
		return err
	}
	var asked Cases
	if err := json.Unmarshal(text, &asked); err != nil {
		return fmt.Errorf("%s: %w", cases, err)
	}
	security, err := judgeSecurity(asked.Security, envoy)
	if err != nil {
		return err
	}
	routing, err := judgeRouting(asked.Routing, envoy)
	if err != nil {
		return err
	}
	validation, err := judgeValidation(asked.Validation)
	if err != nil {
		return err
	}
	text, err = json.Marshal(Answers{Security: security, Routing: routing, Validation: validation})
	if err != nil {
		return err
	}
	return os.WriteFile(answers, text, 0o600)
}

// quiet turns off Istio's log: what it refuses is in the answers.
func quiet() {
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.NoneLevel)
	}
}

// each calls a function with the numbers below count, several at once.
func each(count int, do func(number int)) {
	var group sync.WaitGroup
	numbers := make(chan int)
	for range workers {
		group.Go(func() {
			for number := range numbers {
				do(number)
			}
		})
	}
	for number := range count {
		numbers <- number
	}
	close(numbers)
	group.Wait()
}
