package config

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/viper"

	"github.com/sealedge/sealedge/policy/document"
)

// Problem is one mistake. File names the file, or the environment variable or
// flag that is wrong instead; Path names the key.
type Problem = document.Mistake

// Problems are all mistakes of a configuration.
type Problems = document.Mistakes

// maxSize bounds a configuration file, in bytes.
const maxSize = 1 << 20

//go:embed reference.yaml
var reference []byte

// Reference returns the documented example of a configuration file. It has
// every key, and loads as it is.
func Reference() []byte { return slices.Clone(reference) }

// Load reads the file at path, lays the environment and then flags over it, and
// returns what is valid in itself. flags holds values by key ("log.level"), as
// given with --set. The error is Problems, all of them.
func Load(path string, flags map[string]string) (*Config, error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, raw, flags)
}

// Parse is Load of what the file at path held.
func Parse(path string, raw []byte, flags map[string]string) (*Config, error) {
	cfg, l := load(path, raw, flags)
	if all := l.problems(); len(all) > 0 {
		return nil, all
	}
	return cfg, nil
}

func readFile(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, Problems{{File: path, Text: fmt.Sprintf("can't be read: %v", err), Mend: `name a configuration file; "sealedge init DIR" makes one`}}
	}
	if len(raw) > maxSize {
		return nil, Problems{{File: path, Text: fmt.Sprintf("has %d bytes, which is no configuration file", len(raw))}}
	}
	return raw, nil
}

// load fills a configuration as far as it goes; the loader has the problems.
func load(path string, raw []byte, flags map[string]string) (*Config, *loader) {
	cfg := defaults()
	l := newLoader(path, raw, &cfg, flags)
	if l.decode() {
		cfg.complete()
		l.agree(&cfg)
	}
	return &cfg, l
}

// loader reads one configuration.
type loader struct {
	path   string
	file   *tree
	keys   []key
	values map[string]document.Value // of each key in the file, present or not
	flags  map[string]string
	layers *viper.Viper
	others Problems // in variables and flags
}

// newLoader lets viper settle which source wins for each key. It gets the
// file's values as texts and not the YAML itself, of which it would take 0123
// for 83, lower the keys' case, and pass over those that it doesn't know.
func newLoader(path string, raw []byte, cfg *Config, flags map[string]string) *loader {
	l := &loader{
		path: path, file: newTree(path, raw), keys: keysOf(reflect.ValueOf(cfg).Elem(), ""),
		values: map[string]document.Value{}, flags: map[string]string{}, layers: viper.New(),
	}
	var paths, variables []string
	for _, k := range l.keys {
		paths, variables = append(paths, k.path), append(variables, k.variable())
		l.values[k.path] = l.file.value(k.path)
		if v := written(l.values[k.path], k.field.Kind() == reflect.Slice); v != nil {
			l.layers.SetDefault(k.path, v)
		}
		if err := l.layers.BindEnv(k.path, k.variable()); err != nil {
			panic(err) // only for want of a key
		}
	}
	l.file.close()
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		if !slices.Contains(paths, path) {
			l.stray("--set "+path, path, paths)
			continue
		}
		l.flags[path] = flags[path]
		l.layers.Set(path, flags[path])
	}
	// Of unknown variables only those that look mistyped are reported: a
	// platform may well set SEALEDGE_SERVICE_HOST.
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if strings.HasPrefix(name, variablePrefix) && !slices.Contains(variables, name) && document.Nearest(name, variables) != "" {
			l.stray("environment variable "+name, name, variables)
		}
	}
	return l
}

func (l *loader) stray(source, name string, known []string) {
	p := Problem{File: source, Text: "unknown key"}
	if near := document.Nearest(name, known); near != "" {
		p.Mend = "did you mean " + near + "?"
	}
	l.others = append(l.others, p)
}

// mistake reports a key's value where it comes from.
func (l *loader) mistake(path, mend, format string, args ...any) {
	p := Problem{Path: path, Text: fmt.Sprintf(format, args...), Mend: mend}
	variable := key{path: path}.variable()
	if _, ok := l.flags[path]; ok {
		p.File = "--set " + path
	} else if os.Getenv(variable) != "" {
		p.File = "environment variable " + variable
	} else {
		l.values[path].Report(p.Mend, "%s", p.Text)
		return
	}
	l.others = append(l.others, p)
}

func (l *loader) problems() Problems {
	var all Problems
	if inFile, ok := l.file.doc.Err().(Problems); ok {
		all = inFile
	}
	return append(all, l.others...)
}

// decode fills the fields, and tells whether there is no mistake up to here.
func (l *loader) decode() bool {
	dir := filepath.Dir(l.path)
	for _, k := range l.keys {
		switch value := l.layers.Get(k.path); {
		case value == nil && k.required && l.file.doc.Readable() && !l.values[k.path].Present():
			l.mistake(k.path, fmt.Sprintf("add it, as in %q, or set %s", l.example(k), k.variable()), "is missing")
		case value == nil || value == "" && !k.required:
			// The default stays.
		case k.field.Kind() == reflect.Slice:
			l.decodeList(k, value, dir)
		default:
			if err := set(k.field, value.(string), k.bounds, dir); err != nil {
				l.mistake(k.path, "", "%v", err)
			}
		}
	}
	return len(l.problems()) == 0
}

func (l *loader) decodeList(k key, value any, dir string) {
	items, ok := value.([]string)
	if !ok { // of a variable or flag
		items = strings.Split(value.(string), ",")
	}
	if len(items) == 0 && k.required {
		l.mistake(k.path, fmt.Sprintf("write it as in %q", l.example(k)), "lists nothing")
	}
	list := reflect.MakeSlice(k.field.Type(), len(items), len(items))
	for i, text := range items {
		if err := set(list.Index(i), strings.TrimSpace(text), k.bounds, dir); err != nil {
			l.mistake(k.path, "", "%v", err)
		}
	}
	k.field.Set(list)
}

// example is the line of the reference that sets the key.
func (l *loader) example(k key) string {
	_, name := cutLast(k.path)
	switch v := written(newTree("reference", reference).value(k.path), k.field.Kind() == reflect.Slice).(type) {
	case string:
		return name + ": " + v
	case []string:
		return name + ": [" + strings.Join(v, ", ") + "]"
	}
	return name + ":"
}
