package config

import (
	"reflect"
	"strings"
)

// key is one settable key of Config.
type key struct {
	path     string // "cluster.listen"
	required bool
	bounds   string        // "least..most" of a number or time span
	reload   bool          // it is taken up while a node runs
	field    reflect.Value // where the value goes
}

// variable is the environment variable that sets the key.
func (k key) variable() string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

const variablePrefix = "SEALEDGE_"

// keysOf lists the keys of a section, which must be addressable, in the order
// of the struct. A section is a struct of this package with key tags.
func keysOf(section reflect.Value, prefix string) []key {
	var out []key
	for field, v := range section.Fields() {
		tag, ok := field.Tag.Lookup("key")
		if !ok {
			continue
		}
		name, option, _ := strings.Cut(tag, ",")
		if isSection(field.Type) {
			out = append(out, keysOf(v, prefix+name+".")...)
			continue
		}
		out = append(out, key{path: prefix + name, required: option == "required", bounds: field.Tag.Get("range"), reload: field.Tag.Get("reload") == "yes", field: v})
	}
	return out
}

func isSection(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for field := range t.Fields() {
		if _, ok := field.Tag.Lookup("key"); ok {
			return true
		}
	}
	return false
}
