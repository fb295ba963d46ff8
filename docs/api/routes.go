package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// document is as much of an OpenAPI document as is compared with programs.
type document struct {
	Paths      map[string]map[string]yaml.Node
	Components struct {
		Schemas map[string]struct {
			Properties map[string]struct{ Enum []string }
		}
	}
}

func read(doc []byte) (d document, err error) {
	if err := yaml.Unmarshal(doc, &d); err != nil {
		return d, fmt.Errorf("OpenAPI document: %w", err)
	}
	return d, nil
}

// Routes lists the operations of an OpenAPI document, sorted, as patterns of
// net/http: "POST /v1/uses".
func Routes(doc []byte) ([]string, error) {
	d, err := read(doc)
	if err != nil {
		return nil, err
	}
	var routes []string
	for path, operations := range d.Paths {
		for method := range operations {
			if method != "parameters" && method != "summary" && method != "description" {
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(routes)
	return routes, nil
}

// Properties lists the properties of each schema of an OpenAPI document,
// sorted.
func Properties(doc []byte) (map[string][]string, error) {
	d, err := read(doc)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(d.Components.Schemas))
	for name, schema := range d.Components.Schemas {
		out[name] = slices.Sorted(maps.Keys(schema.Properties))
	}
	return out, nil
}

// Enum lists the values that a property of a schema may have, as documented.
func Enum(doc []byte, schema, property string) ([]string, error) {
	d, err := read(doc)
	if err != nil {
		return nil, err
	}
	return d.Components.Schemas[schema].Properties[property].Enum, nil
}
