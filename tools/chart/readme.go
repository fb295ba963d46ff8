package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"regexp"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"
)

//go:embed readme.md.tmpl
var readmeTemplate string

// row is one line of the README's table.
type row struct{ Path, Default, About string }

// readme makes the chart's README.
func readme(values []byte, chart []byte) ([]byte, error) {
	root, err := parse(values)
	if err != nil {
		return nil, err
	}
	data := struct {
		Chart  struct{ Name, Description, Version, AppVersion, KubeVersion string }
		Values []row
	}{}
	var meta map[string]any
	if err := yaml.Unmarshal(chart, &meta); err != nil {
		return nil, err
	}
	for key, into := range map[string]*string{
		"name": &data.Chart.Name, "description": &data.Chart.Description, "version": &data.Chart.Version,
		"appVersion": &data.Chart.AppVersion, "kubeVersion": &data.Chart.KubeVersion,
	} {
		*into, _ = meta[key].(string)
	}
	var failed error
	root.each(func(v value) {
		text, err := v.text()
		if err != nil && failed == nil {
			failed = err
		}
		data.Values = append(data.Values, row{v.Path, text, strings.ReplaceAll(v.About, "|", `\|`)})
	})
	if failed != nil {
		return nil, failed
	}
	t, err := template.New("README.md").Parse(readmeTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, data)
	return b.Bytes(), err
}

// compact is a value in one line.
func compact(content any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(content)
	return strings.TrimSpace(b.String()), err
}

var spans = regexp.MustCompile(span)

func isSpan(s string) bool { return s != "" && spans.MatchString(s) }
