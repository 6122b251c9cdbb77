package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"istio.io/istio/manifests"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/crd"
	"istio.io/istio/pkg/config/schema/collections"
)

// ValidationCase is objects that are applied together.
type ValidationCase struct {
	Objects []json.RawMessage `json:"objects"`
}

// ValidationAnswers is what Istio says about the objects of a case.
type ValidationAnswers struct {
	// For each object, why a cluster refuses it; empty if it is stored.
	Refused []string `json:"refused"`
	// What the analyzers find. They are only asked about objects that are all stored.
	Findings []Finding `json:"findings"`
}

// The file with Istio's definitions of its kinds.
const definitions = "charts/base/files/crd-all.gen.yaml"

func judgeValidation(cases []ValidationCase) ([]ValidationAnswers, error) {
	if len(cases) == 0 {
		return []ValidationAnswers{}, nil
	}
	schemas, err := definedSchemas()
	if err != nil {
		return nil, err
	}
	answers := make([]ValidationAnswers, len(cases))
	failures := make([]error, len(cases))
	each(len(cases), func(number int) {
		answer, err := validate(schemas, cases[number].Objects)
		if err != nil {
			err = fmt.Errorf("case %d: %w", number, err)
		}
		answers[number], failures[number] = answer, err
	})
	return answers, errors.Join(failures...)
}

func validate(schemas *crd.Validator, objects []json.RawMessage) (ValidationAnswers, error) {
	answer := ValidationAnswers{Refused: []string{}, Findings: []Finding{}}
	stored := true
	for _, text := range objects {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return answer, fmt.Errorf("%w: %s", err, text)
		}
		reason := ""
		if err := refuse(schemas, object); err != nil {
			reason = err.Error()
			stored = false
		}
		answer.Refused = append(answer.Refused, reason)
	}
	var err error
	if stored {
		answer.Findings, err = analyze(objects)
	}
	return answer, err
}

// refuse does what `istioctl validate` does, and what an API server does before it asks Istio.
func refuse(schemas *crd.Validator, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	schema, exists := collections.Pilot.FindByGroupVersionAliasesKind(config.GroupVersionKind{
		Group: kind.Group, Version: kind.Version, Kind: kind.Kind,
	})
	if !exists || !strings.HasSuffix(kind.Group, "istio.io") {
		return nil
	}
	// The schema adds defaults to the object.
	if err := schemas.ValidateCustomResource(object.DeepCopy()); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	text, err := json.Marshal(object.Object["spec"])
	if err != nil {
		return err
	}
	spec, err := schema.NewInstance()
	if err != nil {
		return err
	}
	if err := config.ApplyJSONStrict(spec, string(text)); err != nil {
		return fmt.Errorf("type: %w", err)
	}
	_, err = schema.ValidateConfig(config.Config{
		Meta: config.Meta{
			GroupVersionKind: schema.GroupVersionKind(),
			Name:             object.GetName(),
			Namespace:        object.GetNamespace(),
			Labels:           object.GetLabels(),
			Annotations:      object.GetAnnotations(),
		},
		Spec: spec,
	})
	if err != nil {
		return fmt.Errorf("validation: %w", err)
	}
	return nil
}

// definedSchemas is the schemas of Istio's kinds, as a cluster has them.
func definedSchemas() (*crd.Validator, error) {
	text, err := manifests.FS.ReadFile(definitions)
	if err != nil {
		return nil, err
	}
	// They can only be read from files.
	file, err := os.CreateTemp("", "definitions-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(text); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return crd.NewValidatorFromFilesWithOptions(
		[]string{file.Name()}, crd.WithoutCRDValidation())
}
