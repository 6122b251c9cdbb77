package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Kind is a row of kinds.yaml: what the operations on every kind need to know.
type Kind struct {
	Kind, APIVersion, Plural string
	// Whether its objects are in a namespace.
	Namespaced bool
	// A minimal object, without apiVersion, kind and metadata.
	Object map[string]any
	// Names that operations are for: `scale`, `spec`, …
	Has []string
}

// Operation is a row of operations.yaml: a case for every kind.
type Operation struct {
	Operation string
	// For kinds that have all of these.
	For  []string
	Rows []Row
}

// casesOfKinds makes a case of every operation and kind.
func casesOfKinds(folder string) ([]Case, error) {
	var kinds []Kind
	if err := readYAML(filepath.Join(folder, "kinds.yaml"), &kinds); err != nil {
		return nil, err
	}
	var operations []Operation
	if err := readYAML(filepath.Join(folder, "operations.yaml"), &operations); err != nil {
		return nil, err
	}
	var cases []Case
	for _, operation := range operations {
		for _, kind := range kinds {
			if kind.hasAll(operation.For) {
				cases = append(cases, kind.caseOf(operation))
			}
		}
	}
	return cases, nil
}

func (k *Kind) hasAll(wanted []string) bool {
	has := append([]string{}, k.Has...)
	if k.Namespaced {
		has = append(has, "namespace")
	}
	for _, want := range wanted {
		if !strings.Contains(" "+strings.Join(has, " ")+" ", " "+want+" ") {
			return false
		}
	}
	return true
}

func (k *Kind) caseOf(operation Operation) Case {
	rows := make([]Row, len(operation.Rows))
	for index, row := range operation.Rows {
		fill := k.fill
		row.Do, row.Text, row.Name = fill(row.Do), fill(row.Text), fill(row.Name)
		row.Body = k.fillBody(row.Body)
		rows[index] = row
	}
	return Case{Case: fmt.Sprintf("%s: %s", k.name(), operation.Operation), Rows: rows}
}

func (k *Kind) name() string {
	group, _, found := strings.Cut(k.APIVersion, "/")
	if !found {
		return k.Kind
	}
	return k.Kind + "." + group + strings.TrimPrefix(k.APIVersion, group)
}

// fill replaces the placeholders of a text: `{all}` is the path of all objects, `{path}` that
// of those in the namespace, `{kind}` and `{version}` what the object has.
func (k *Kind) fill(text string) string {
	root := "/apis/" + k.APIVersion
	if !strings.Contains(k.APIVersion, "/") {
		root = "/api/" + k.APIVersion
	}
	path := root + "/" + k.Plural
	if k.Namespaced {
		path = root + "/namespaces/{ns}/" + k.Plural
	}
	// Objects of the cluster share a namespace, so their names begin with that of the case.
	name := "a"
	if !k.Namespaced {
		name = "{ns}-a"
	}
	return strings.NewReplacer("{path}", path, "{all}", root+"/"+k.Plural, "{root}", root,
		"{kind}", k.Kind, "{version}", k.APIVersion, "{plural}", k.Plural, "{name}", name).Replace(text)
}

// fillBody replaces `{$object: OVERLAY}` by the kind's object, merged with the overlay, and
// the placeholders of all texts.
func (k *Kind) fillBody(value any) any {
	switch value := value.(type) {
	case string:
		return k.fill(value)
	case []any:
		filled := make([]any, len(value))
		for index := range value {
			filled[index] = k.fillBody(value[index])
		}
		return filled
	case map[string]any:
		if overlay, ok := value["$object"]; ok {
			object := map[string]any{
				"apiVersion": k.APIVersion, "kind": k.Kind,
				"metadata": map[string]any{"name": k.fill("{name}")},
			}
			return merged(merged(object, k.Object), k.fillBody(overlay))
		}
		filled := map[string]any{}
		for name := range value {
			filled[k.fill(name)] = k.fillBody(value[name])
		}
		return filled
	default:
		return value
	}
}

// merged is a JSON merge patch: null removes.
func merged(value, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	result := map[string]any{}
	if before, ok := value.(map[string]any); ok {
		for name := range before {
			result[name] = before[name]
		}
	}
	for name, change := range changes {
		if change == nil {
			delete(result, name)
		} else {
			result[name] = merged(result[name], change)
		}
	}
	return result
}
