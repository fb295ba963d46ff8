package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Some keys are taken up while a node runs: when its file changes, or at SIGHUP. They
// are those whose field says so. A change of any other key waits for a restart, and the
// node goes on with the old value.

// Reloadable lists the keys that are taken up while a node runs, in the order of the
// reference.
func Reloadable() (paths []string) {
	for _, k := range keysOf(reflect.ValueOf(new(Config)).Elem(), "") {
		if k.reload {
			paths = append(paths, k.path)
		}
	}
	return paths
}

// Change is a key whose value differs between two configurations, with both as they
// are written. Of what is secret a configuration has only the files' names.
type Change struct{ Key, Old, New string }

// Diff lists what is different in new: the keys that can be taken up while a node runs,
// and those that take a restart.
func Diff(old, new *Config) (reloadable, restart []Change) {
	was, is := keysOf(reflect.ValueOf(old).Elem(), ""), keysOf(reflect.ValueOf(new).Elem(), "")
	for i, k := range was {
		if reflect.DeepEqual(k.field.Interface(), is[i].field.Interface()) {
			continue
		}
		c := Change{k.path, text(k.field), text(is[i].field)}
		if k.reload {
			reloadable = append(reloadable, c)
		} else {
			restart = append(restart, c)
		}
	}
	return reloadable, restart
}

// Take returns a copy of c with new's values of the keys that can be taken up while a
// node runs.
func (c *Config) Take(new *Config) *Config {
	taken := *c
	is := keysOf(reflect.ValueOf(new).Elem(), "")
	for i, k := range keysOf(reflect.ValueOf(&taken).Elem(), "") {
		if k.reload {
			k.field.Set(is[i].field)
		}
	}
	return &taken
}

// text is how a value is written in a file.
func text(field reflect.Value) string {
	if field.Kind() != reflect.Slice {
		return fmt.Sprint(field.Interface())
	}
	var items []string
	for i := range field.Len() {
		items = append(items, fmt.Sprint(field.Index(i).Interface()))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// Keys are the keys of changes, sorted.
func Keys(changes []Change) (keys []string) {
	for _, c := range changes {
		keys = append(keys, c.Key)
	}
	slices.Sort(keys)
	return keys
}
