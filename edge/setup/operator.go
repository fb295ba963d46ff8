package setup

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Roles are those that an operator's certificate may carry, as edge/admin knows them.
var Roles = []string{"viewer", "operator", "seal-administrator", "auditor", "backup"}

// firstOperator is who "sealedge init" makes, with every role.
const firstOperator = "operator"

// operatorNames stand in certificates, in file names and in the audit chain.
var operatorNames = regexp.MustCompile(`^[a-z][a-z0-9]*([._-][a-z0-9]+)*$`)

// AddOperator issues a certificate for one more person, with the CA that Init made
// in dir, and returns the context for that person's sealctl. It is in a directory of
// its own, operators/NAME, that can be handed over as it is: nothing in it names a
// file outside.
func AddOperator(dir, name string, roles []string, now time.Time) (context string, err error) {
	switch {
	case !operatorNames.MatchString(name) || len(name) > 64:
		return "", fmt.Errorf("%q can't name an operator; use small letters and digits, such as li or li.wei", name)
	case name == firstOperator:
		return "", fmt.Errorf("%q is who the cluster was made with; two people of one name would be one to the gateway", name)
	case len(roles) == 0:
		return "", fmt.Errorf("%s has no role and could do nothing; name one or more of %s", name, strings.Join(Roles, ", "))
	}
	for _, r := range roles {
		if !slices.Contains(Roles, r) {
			return "", fmt.Errorf("there is no role %q; there are %s", r, strings.Join(Roles, ", "))
		}
	}
	at := filepath.Join(dir, "operators", name)
	if _, err := os.Stat(at); err == nil {
		return "", fmt.Errorf("%s is there already: %s was made before", at, name)
	}
	pki := filepath.Join(dir, "pki")
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "ca.pem"), filepath.Join(pki, "ca-key.pem"))
	if err != nil {
		return "", fmt.Errorf("the cluster's CA can't be read: %w; name the directory that \"sealedge init\" made, with the CA's key in it", err)
	}
	signer, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return "", errors.New("the CA's key is of another kind than \"sealedge init\" makes")
	}
	addresses, err := adminAddresses(filepath.Join(dir, "sealctl.yaml"))
	if err != nil {
		return "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	files, err := issue(identity{
		name: name, common: name, uri: "sealedge://operator/" + name, usages: client, units: roles,
	}, pair.Leaf, key, signer, now)
	if err != nil {
		return "", err
	}
	files[0].name, files[1].name = "cert.pem", "key.pem"
	text := fmt.Sprintf("# The context of %s, who is %s: sealctl --context sealctl.yaml ...\n#\n# Files are relative to the directory of this file.\n", name, strings.Join(roles, ", "))
	body, err := yaml.Marshal(map[string]any{"addresses": addresses, "ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"})
	if err != nil {
		return "", err
	}
	files = append(files,
		file{name: "ca.pem", content: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})},
		file{name: "sealctl.yaml", content: append([]byte(text), body...)},
	)
	if err := write(at, nil, files); err != nil {
		return "", err
	}
	return filepath.Join(at, "sealctl.yaml"), nil
}

// adminAddresses reads where the cluster is out of the first operator's context.
func adminAddresses(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c struct {
		Addresses []string `yaml:"addresses"`
	}
	if err := yaml.Unmarshal(b, &c); err != nil || len(c.Addresses) == 0 {
		return nil, fmt.Errorf("%s names no addresses (%v)", path, err)
	}
	return c.Addresses, nil
}

// issue makes the certificate of an identity, and gives it and its key as files.
func issue(id identity, ca *x509.Certificate, key, signer *ecdsa.PrivateKey, now time.Time) ([]file, error) {
	cert, err := id.template(now)
	if err != nil {
		return nil, err
	}
	return signed(id.name, cert, ca, key, signer)
}
