package main

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// comparable is the part of an answer that must be equal: without what every server chooses,
// and without the text of messages, which may help more.
func comparable(row *Row, answer *Answer) any {
	var documents []any
	known := map[string]string{} // The objects of a watch, by name.
	for _, object := range answer.Objects {
		event, _ := object.(map[string]any)
		if isFromController(event["object"]) {
			continue
		}
		document := cleaned(row, object)
		if _, ok := event["object"]; ok {
			shown := text(document.(map[string]any)["object"])
			// Only the status has changed, which is not compared.
			if event["type"] == "MODIFIED" && known[name(event["object"])] == shown {
				continue
			}
			known[name(event["object"])] = shown
		}
		documents = append(documents, document)
	}
	return map[string]any{"text": answer.Text, "body": documents}
}

func cleaned(row *Row, value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	switch object["kind"] {
	case "Status":
		return cleanedStatus(object)
	case "Table":
		return cleanedTable(row, object)
	}
	object = withoutChosen(object)
	result := maps.Clone(object)
	if inner, ok := object["object"]; ok { // An event of a watch.
		result["object"] = cleaned(row, inner)
		return result
	}
	if items, ok := object["items"].([]any); ok {
		result["items"] = cleanedItems(row, items)
	}
	if metadata, ok := object["metadata"].(map[string]any); ok {
		result["metadata"] = cleanedMetadata(row, metadata)
	}
	if !row.also("status") {
		delete(result, "status")
	}
	delete(result, "spec")
	if spec, ok := object["spec"]; ok {
		result["spec"] = cleanedSpec(spec)
	}
	return result
}

// withoutChosen replaces the uid of an object, and a generated name, in all of its texts.
func withoutChosen(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	whole := text(object)
	if uid, _ := metadata["uid"].(string); uid != "" {
		whole = strings.ReplaceAll(whole, uid, "chosen")
	}
	// A generated name ends with five letters.
	prefix, _ := metadata["generateName"].(string)
	name, _ := metadata["name"].(string)
	if prefix != "" && strings.HasPrefix(name, prefix) && len(name) == len(prefix)+5 {
		whole = strings.ReplaceAll(whole, name, prefix+"chosen")
	}
	var result map[string]any
	_ = json.Unmarshal([]byte(whole), &result)
	return result
}

func cleanedItems(row *Row, items []any) []any {
	kept := []any{}
	for _, item := range items {
		if !isFromController(item) {
			kept = append(kept, cleaned(row, item))
		}
	}
	return kept
}

// isFromController is true for what the cluster's controllers write into every namespace.
func isFromController(value any) bool { return name(value) == "kube-root-ca.crt" }

func name(value any) string {
	object, _ := value.(map[string]any)
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}

// chosen are the fields of metadata whose values every server chooses.
var chosen = []string{"uid", "resourceVersion", "creationTimestamp", "continue", "deletionTimestamp"}

func cleanedMetadata(row *Row, metadata map[string]any) map[string]any {
	result := maps.Clone(metadata)
	for _, field := range chosen {
		if value, ok := result[field].(string); ok && value != "" {
			result[field] = "chosen"
		}
	}
	delete(result, "managedFields")
	if row.also("managers") {
		result["managedFields"] = managers(metadata["managedFields"])
	}
	return result
}

func managers(value any) []any {
	entries, _ := value.([]any)
	var result []any
	for _, entry := range entries {
		fields, _ := entry.(map[string]any)
		cloned := maps.Clone(fields)
		delete(cloned, "time")
		// An API server also counts the maps and structures around a field that an update sets.
		if cloned["operation"] == "Update" {
			delete(cloned, "fieldsV1")
		}
		result = append(result, cloned)
	}
	slices.SortFunc(result, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	return result
}

// cleanedSpec removes what the cluster's admission adds to a pod, and chosen addresses.
func cleanedSpec(value any) any {
	spec, ok := value.(map[string]any)
	if !ok {
		return value
	}
	result := maps.Clone(spec)
	for _, field := range []string{"clusterIP"} {
		if address, ok := result[field].(string); ok && address != "" && address != "None" {
			result[field] = "chosen"
		}
	}
	if addresses, ok := result["clusterIPs"].([]any); ok && text(addresses) != `["None"]` {
		result["clusterIPs"] = "chosen"
	}
	return result
}

func cleanedStatus(object map[string]any) map[string]any {
	result := maps.Clone(object)
	delete(result, "message")
	details, ok := object["details"].(map[string]any)
	if !ok {
		return result
	}
	details = maps.Clone(details)
	if _, ok := details["uid"].(string); ok {
		details["uid"] = "chosen"
	}
	if causes, ok := details["causes"].([]any); ok {
		details["causes"] = cleanedCauses(causes)
	}
	result["details"] = details
	return result
}

// cleanedCauses are the reasons and fields, in the order of their names.
func cleanedCauses(causes []any) []any {
	var result []any
	for _, cause := range causes {
		fields, _ := cause.(map[string]any)
		result = append(result, map[string]any{"reason": fields["reason"], "field": fields["field"]})
	}
	slices.SortFunc(result, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	return slices.CompactFunc(result, func(a, b any) bool { return text(a) == text(b) })
}

func cleanedTable(row *Row, object map[string]any) map[string]any {
	result := maps.Clone(object)
	if metadata, ok := object["metadata"].(map[string]any); ok {
		result["metadata"] = cleanedMetadata(row, metadata)
	}
	columns, _ := object["columnDefinitions"].([]any)
	var titles []any
	for _, column := range columns {
		fields, _ := column.(map[string]any)
		fields = maps.Clone(fields)
		delete(fields, "description")
		titles = append(titles, fields)
	}
	result["columnDefinitions"] = titles
	rows, _ := object["rows"].([]any)
	kept := []any{}
	for _, it := range rows {
		fields, _ := it.(map[string]any)
		if isFromController(fields["object"]) {
			continue
		}
		fields = maps.Clone(fields)
		if inner, ok := fields["object"]; ok {
			fields["object"] = cleaned(row, inner)
		}
		fields["cells"] = cleanedCells(row, columns, fields["cells"])
		kept = append(kept, fields)
	}
	result["rows"] = kept
	return result
}

// uid is the form of the uids of both.
var uid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

func cleanedCells(row *Row, columns []any, value any) []any {
	isPod := strings.Contains(row.Do, "/pods")
	cells, _ := value.([]any)
	var result []any
	for index, cell := range cells {
		if index < len(columns) {
			fields, _ := columns[index].(map[string]any)
			switch fields["name"] {
			case "Age", "Cluster-IP":
				cell = "chosen"
			case "Ready", "Status", "IP":
				// Pods run only on the host, as soon as they can.
				if isPod {
					cell = "chosen"
				}
			case "Selector":
				if selector, ok := cell.(string); ok {
					cell = uid.ReplaceAllString(selector, "chosen")
				}
			}
		}
		result = append(result, cell)
	}
	return result
}

// names are the fields of either object, in order.
func names(a, b map[string]any) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}
