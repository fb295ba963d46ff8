package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/edge/config"
)

//go:embed definitions.yaml
var definitions []byte

// managed are the daemon's keys that the chart sets by itself. A key that ends with a
// dot stands for all below it.
var managed = []string{
	"node.", "cluster.listen", "cluster.advertise", "cluster.peers", "cluster.preferred_leader", "tls.", "grant.", "secrets.",
	"gateway.wireguard.private_key_file", "gateway.bind", "gateway.service.",
	"inner.phone_api.cert", "inner.phone_api.key", "inner.barrel_api.cert", "inner.barrel_api.key",
	"fallback.listen", "fallback.cert", "fallback.key",
	"upstream.ca", "upstream.cert", "upstream.key",
	"intranet.listen", "intranet.ca", "intranet.cert", "intranet.key",
	"admin.listen", "admin.ca", "admin.cert", "admin.key",
	"telemetry.listen", "telemetry.traces.",
}

func isManaged(path string) bool {
	return slices.ContainsFunc(managed, func(m string) bool {
		return path == m || strings.HasSuffix(m, ".") && (strings.HasPrefix(path, m) || path+"." == m)
	})
}

// choices are the daemon's keys that take one of a few words.
var choices = map[string][]any{
	"gateway.address_driver":  {"netlink", "external", "service", "loopback"},
	"gateway.gtp.failed_path": {"keep", "release"},
	"inner.driver":            {"netstack", "tun"},
	"log.level":               {"debug", "info", "warn", "error"},
	"log.format":              {"text", "json"},
}

// span is a time span as the daemon reads it.
const span = `^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$`

// schema makes values.schema.json.
func schema(values []byte) ([]byte, error) {
	root, err := parse(values)
	if err != nil {
		return nil, err
	}
	s, err := root.schema()
	if err != nil {
		return nil, err
	}
	var defs map[string]any
	if err := yaml.Unmarshal(definitions, &defs); err != nil {
		return nil, err
	}
	s["$schema"], s["title"], s["definitions"] = "http://json-schema.org/draft-07/schema#", "Values of the chart sealedge", defs
	// Helm hands it to every chart that is part of another.
	properties := s["properties"].(map[string]any)
	properties["global"] = map[string]any{"type": "object", "description": "Values of a chart that this one is part of; not used."}
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

func (v *value) schema() (map[string]any, error) {
	s := map[string]any{}
	if v.About != "" {
		s["description"] = v.About
	}
	if v.Extra["$config"] == true {
		reference, err := parse(config.Reference())
		if err != nil {
			return nil, err
		}
		ours := reference.daemon()
		ours["description"] = v.About
		return ours, nil
	}
	if _, ref := v.Extra["$ref"]; ref {
		// In draft 7 nothing may stand beside a reference.
		s["allOf"] = []any{maps.Clone(v.Extra)}
		return s, nil
	}
	switch v.Node.Kind {
	case yaml.MappingNode:
		s["type"] = "object"
		s["additionalProperties"] = false
		if len(v.Parts) > 0 {
			properties := map[string]any{}
			for _, p := range v.Parts {
				child, err := p.schema()
				if err != nil {
					return nil, err
				}
				properties[p.Name] = child
			}
			s["properties"] = properties
		}
	case yaml.SequenceNode:
		s["type"] = "array"
	default:
		t, ok := map[string]string{"!!str": "string", "!!int": "integer", "!!bool": "boolean"}[v.Node.Tag]
		if !ok {
			return nil, fmt.Errorf("%s: a %s has no place in values", v.Path, v.Node.Tag)
		}
		s["type"] = t
	}
	maps.Copy(s, v.Extra)
	return s, nil
}

// daemon is the schema of the daemon's keys that are for the user to set.
func (v *value) daemon() map[string]any {
	properties := map[string]any{}
	about := v.About // a comment may be for several keys
	for _, p := range v.Parts {
		if p.About == "" {
			p.About = about
		}
		about = p.About
		switch {
		case isManaged(p.Path):
		case len(p.Parts) > 0:
			properties[p.Name] = p.daemon()
		default:
			properties[p.Name] = p.daemonKey()
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if v.About != "" {
		s["description"] = v.About
	}
	return s
}

func (v *value) daemonKey() map[string]any {
	s := map[string]any{"description": v.About}
	if words, ok := choices[v.Path]; ok {
		s["enum"] = words
		return s
	}
	switch {
	case v.Node.Kind == yaml.SequenceNode:
		s["type"], s["items"] = "array", map[string]any{"type": "string"}
	case v.Node.Tag == "!!int":
		s["type"], s["minimum"] = "integer", 0
	case v.Node.Tag == "!!float":
		s["type"], s["minimum"] = "number", 0
	case v.Node.Tag == "!!bool":
		s["type"] = "boolean"
	case isSpan(v.Node.Value):
		s["type"], s["pattern"], s["maximum"] = []string{"string", "integer"}, span, 0 // 0 needs no unit
	default:
		s["type"] = "string"
	}
	return s
}
