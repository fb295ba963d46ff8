package devicefile

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// readYAML reads a document with the lists terminals and barrels. Errors begin
// with a line's number.
func (f *file) readYAML(doc []byte) error {
	var root yaml.Node
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return fmt.Errorf(" %w", err)
	}
	if len(root.Content) == 0 {
		return errors.New("1: the file is empty; it has the lists terminals and barrels")
	}
	return pairs(root.Content[0], func(key string, at, v *yaml.Node) error {
		if fields[key] == nil {
			return fmt.Errorf("%d: %q is not known; the lists are terminals and barrels", at.Line, key)
		}
		if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
			return nil
		}
		if v.Kind != yaml.SequenceNode {
			return fmt.Errorf("%d: %s is no list", v.Line, key)
		}
		for _, item := range v.Content {
			f.addItem(key, item)
		}
		return nil
	})
}

// pairs goes through a mapping, whose keys have to be different.
func pairs(n *yaml.Node, do func(key string, at, value *yaml.Node) error) error {
	n = resolved(n)
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%d: here names with values are expected, such as imsi: \"460010000000001\"", n.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			return fmt.Errorf("%d: %s is there twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		if err := do(key.Value, key, resolved(n.Content[i+1])); err != nil {
			return err
		}
	}
	return nil
}

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (f *file) addItem(kind string, n *yaml.Node) {
	values, credentials := map[string]any{}, map[string]any(nil)
	var mistakes []string
	miss := func(format string, args ...any) { mistakes = append(mistakes, fmt.Sprintf(format, args...)) }
	take := func(into map[string]any, key string, v *yaml.Node) {
		fld, known := fieldOf(kind, key)
		if secret[key] != "" {
			fld, known = field{name: key}, true
		}
		value, err := fld.node(v)
		switch {
		case !known || fld.name != key: // no aliases: they are for columns
			miss("field %s not found in %s", key, kind)
		case err != nil:
			miss("%s", err)
		default:
			into[key] = value
		}
	}
	err := pairs(n, func(key string, _, v *yaml.Node) error {
		switch {
		case kind == Terminals && key == "credentials":
			if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
				return nil
			}
			credentials = map[string]any{}
			return pairs(v, func(key string, _, v *yaml.Node) error {
				switch key {
				case "user", "password", "password_file", "chap":
					take(credentials, key, v)
				default:
					miss("field %s not found in credentials", key)
				}
				return nil
			})
		case kind == Terminals && (key == "user" || key == "chap" || key == "password" || key == "password_file"):
			miss("field %s not found in %s; it belongs into credentials", key, kind)
		case kind == Barrels && key == "password" || kind == Terminals && key == "psk":
			miss("field %s not found in %s", key, kind)
		default:
			take(values, key, v)
		}
		return nil
	})
	if err != nil {
		mistakes = append(mistakes, strings.TrimSpace(err.Error()))
	}
	if credentials != nil {
		values[givenCredentials] = credentials
	}
	f.add(n.Line, kind, values, mistakes)
}

// node makes a value of what a YAML node has. Numbers are taken as they are
// written: an IMSI needs no quotes.
func (f field) node(n *yaml.Node) (any, error) {
	null := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	switch {
	case f.form == list && null:
		return []string{}, nil
	case f.form == list && n.Kind == yaml.SequenceNode:
		all := []string{}
		for _, item := range n.Content {
			if item = resolved(item); item.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("%s: line %d is no text", f.name, item.Line)
			}
			all = append(all, item.Value)
		}
		return all, nil
	case f.form == list:
		return nil, fmt.Errorf("%s: want a list, such as [seal.corp]", f.name)
	case n.Kind != yaml.ScalarNode:
		return nil, fmt.Errorf("%s: want one value", f.name)
	case null:
		return f.parse("")
	}
	return f.parse(n.Value)
}
