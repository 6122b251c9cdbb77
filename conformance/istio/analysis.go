package main

import (
	"encoding/json"
	"strings"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
)

// Finding is a message of `istioctl analyze` about an object.
type Finding struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Code      string `json:"code"`
}

// analyze runs all of Istio's analyzers. Without the gateway that `istioctl analyze` adds: the cases
// have it.
func analyze(objects []json.RawMessage) ([]Finding, error) {
	var text strings.Builder
	for _, object := range objects {
		text.WriteString("---\n")
		text.Write(object)
		text.WriteString("\n")
	}
	analyzer := local.NewSourceAnalyzer(analyzers.AllCombined(), "", "istio-system", nil)
	source := local.ReaderSource{Name: "case.yaml", Reader: strings.NewReader(text.String())}
	if err := analyzer.AddTestReaderKubeSource([]local.ReaderSource{source}); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	defer close(stop)
	result, err := analyzer.Analyze(stop)
	if err != nil {
		return nil, err
	}
	findings := []Finding{}
	for _, message := range result.Messages {
		finding := Finding{Code: message.Type.Code()}
		if message.Resource != nil {
			name := message.Resource.Metadata.FullName
			finding.Kind = message.Resource.Metadata.Schema.Kind()
			finding.Namespace = name.Namespace.String()
			finding.Name = name.Name.String()
		}
		findings = append(findings, finding)
	}
	return findings, nil
}
