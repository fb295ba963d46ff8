package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
)

// readRoots makes one PEM file of the CA certificates of a file, or of the *.crt
// of a directory in the order of their names, and counts them.
func readRoots(path string) (bundle []byte, n int, err error) {
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, 0, fmt.Errorf("no CA roots (Debian has them in the package ca-certificates; -roots names others): %w", err)
	} else if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.crt")); err != nil {
			return nil, 0, err
		}
	}
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, file := range files {
		rest, err := os.ReadFile(file)
		if err != nil {
			return nil, 0, err
		}
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				return nil, 0, fmt.Errorf("%s: a %s among CA roots", file, block.Type)
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, 0, fmt.Errorf("%s: %w", file, err)
			}
			if cert.BasicConstraintsValid && !cert.IsCA {
				return nil, 0, fmt.Errorf("%s: %s is not a CA", file, cert.Subject)
			}
			if seen[string(cert.Raw)] {
				continue
			}
			seen[string(cert.Raw)] = true
			n++
			fmt.Fprintf(&out, "# %s\n", cert.Subject)
			if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
				return nil, 0, err
			}
		}
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("no CA certificate in %s", path)
	}
	return out.Bytes(), n, nil
}
