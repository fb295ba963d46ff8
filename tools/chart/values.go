package main

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// value is one key of values.yaml or of the daemon's reference.
type value struct {
	Name  string
	Path  string // with the keys that it is in
	About string // the comment, in one line
	Extra map[string]any
	Node  *yaml.Node
	Parts []value // of a mapping that isn't empty
}

// parse reads a document of which every key is explained by the comment before it.
func parse(raw []byte) (value, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return value{}, err
	}
	if doc.Kind != yaml.DocumentNode || doc.Content[0].Kind != yaml.MappingNode {
		return value{}, errors.New("no mapping")
	}
	root := value{Node: doc.Content[0]}
	return root, root.fill()
}

func (v *value) fill() error {
	for i := 0; i+1 < len(v.Node.Content); i += 2 {
		key, content := v.Node.Content[i], v.Node.Content[i+1]
		part := value{Name: key.Value, Path: key.Value, Node: content}
		if v.Path != "" {
			part.Path = v.Path + "." + key.Value
		}
		if err := part.explain(key.HeadComment); err != nil {
			return fmt.Errorf("%s: %w", part.Path, err)
		}
		if content.Kind == yaml.MappingNode && !part.leaf() {
			if err := part.fill(); err != nil {
				return err
			}
		}
		v.Parts = append(v.Parts, part)
	}
	return nil
}

// leaf tells whether the mapping is one value, and not keys of the chart.
func (v *value) leaf() bool {
	_, ref := v.Extra["$ref"]
	return ref || len(v.Node.Content) == 0
}

// explain takes the comment apart.
func (v *value) explain(comment string) error {
	var about []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		if schema, ok := strings.CutPrefix(line, "@schema "); ok {
			if err := yaml.Unmarshal([]byte(schema), &v.Extra); err != nil {
				return err
			}
			continue
		}
		if line != "" {
			about = append(about, line)
		}
	}
	v.About = strings.Join(about, " ")
	return nil
}

// each calls fn for every value that isn't made of others.
func (v *value) each(fn func(value)) {
	for _, p := range v.Parts {
		if len(p.Parts) > 0 {
			p.each(fn)
		} else {
			fn(p)
		}
	}
}

// text is the value as it stands in a table.
func (v *value) text() (string, error) {
	var content any
	if err := v.Node.Decode(&content); err != nil {
		return "", err
	}
	return compact(content)
}
