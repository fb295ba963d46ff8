package setup

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
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
	Cluster, Admin, Intranet, Fallback netip.AddrPort
}

// configurations writes the file of each process.
func configurations(o Options) ([]file, error) {
	data := struct {
		Options
		Self        node
		All         []node
		GatewayName string
	}{Options: o, GatewayName: gatewayName}
	for n, host := range o.Hosts {
		data.All = append(data.All, node{
			Name: nodeName(n), Cluster: netip.AddrPortFrom(host, clusterPort),
			Admin: netip.AddrPortFrom(host, adminPort), Intranet: netip.AddrPortFrom(host, intranetPort), Fallback: netip.AddrPortFrom(host, fallbackPort),
		})
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
