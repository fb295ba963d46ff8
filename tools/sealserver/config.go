package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"
)

// config is the server's file. Paths are relative to it.
type config struct {
	Listen      string   `yaml:"listen"`       // host:port
	CA          string   `yaml:"ca"`           // of the gateway's certificates
	Cert        string   `yaml:"cert"`         // what the server shows
	Key         string   `yaml:"key"`          //
	ClientCert  string   `yaml:"client_cert"`  // what it shows to the gateway
	ClientKey   string   `yaml:"client_key"`   //
	GatewayURI  string   `yaml:"gateway_uri"`  // URI SAN of the gateway's client certificate
	Database    string   `yaml:"database"`     // SQLite file
	EvidenceDir string   `yaml:"evidence_dir"` // images
	Gateways    []string `yaml:"gateways"`     // base URLs of the nodes' intranet listeners
}

func readConfig(file string) (config, error) {
	var c config
	doc, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("the configuration cannot be read: %w ('sealedge init' writes a first one; name it with --config)", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(doc))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	var errs []error
	for _, f := range []struct {
		name  string
		value *string
		path  bool
	}{
		{"listen", &c.Listen, false},
		{"ca", &c.CA, true},
		{"cert", &c.Cert, true},
		{"key", &c.Key, true},
		{"client_cert", &c.ClientCert, true},
		{"client_key", &c.ClientKey, true},
		{"gateway_uri", &c.GatewayURI, false},
		{"database", &c.Database, true},
		{"evidence_dir", &c.EvidenceDir, true},
	} {
		if *f.value == "" {
			errs = append(errs, fmt.Errorf("%s: %s is missing", file, f.name))
		} else if f.path && !filepath.IsAbs(*f.value) {
			*f.value = filepath.Join(filepath.Dir(file), *f.value)
		}
	}
	if len(c.Gateways) == 0 {
		errs = append(errs, fmt.Errorf("%s: gateways is missing: without it no disconnect reaches a barrel", file))
	}
	return c, errors.Join(errs...)
}
