package setup

import (
	"bytes"
	_ "embed"
	"fmt"
	"text/template"
)

//go:embed node.yaml.tmpl
var nodeTemplate string

//go:embed sealserver.yaml.tmpl
var sealServerTemplate string

//go:embed sealctl.yaml.tmpl
var contextTemplate string

// node is what a configuration template knows of one node.
type node struct {
	Name                               string
	Cluster, Admin, Intranet, Fallback string
}

// configurations writes the file of each process.
func configurations(o Options) ([]file, error) {
	data := struct {
		Options
		Self        node
		All         []node
		GatewayName string
	}{Options: o, GatewayName: gatewayName}
	for _, p := range o.places() {
		data.All = append(data.All, node{p.name, p.at(clusterPort), p.at(adminPort), p.at(intranetPort), p.at(fallbackPort)})
	}
	var files []file
	fill := func(name, text string) error {
		t, err := template.New(name).Parse(text)
		if err != nil {
			return fmt.Errorf("template of %s: %w", name, err)
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data); err != nil {
			return fmt.Errorf("template of %s: %w", name, err)
		}
		files = append(files, file{name: name, content: b.Bytes()})
		return nil
	}
	for _, data.Self = range data.All {
		if o.Kubernetes.used() {
			break // the chart writes them
		}
		if err := fill(data.Self.Name+".yaml", nodeTemplate); err != nil {
			return nil, err
		}
	}
	if err := fill("sealserver.yaml", sealServerTemplate); err != nil {
		return nil, err
	}
	if err := fill("sealctl.yaml", contextTemplate); err != nil {
		return nil, err
	}
	return files, nil
}
