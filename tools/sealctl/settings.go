package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/viper"
	"github.com/urfave/cli/v2"
)

// settings say where the cluster is and who the caller is: by a certificate with
// its key, or by a token. CA, Cert, Key and Token are names of files; a context
// file means them relative to itself.
type settings struct {
	Addresses []string `mapstructure:"addresses" yaml:"addresses"`
	CA        string   `mapstructure:"ca" yaml:"ca"`
	Cert      string   `mapstructure:"cert" yaml:"cert,omitempty"`
	Key       string   `mapstructure:"key" yaml:"key,omitempty"`
	Token     string   `mapstructure:"token" yaml:"token,omitempty"`
}

// settingFlags are the flags of the same names.
func settingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "context", Usage: "`NAME|FILE` of a context: where the cluster is and who you are", EnvVars: []string{"SEALCTL_CONTEXT"}},
		&cli.StringSliceFlag{Name: "address", Usage: "admin `ADDRESS` of a node, instead of the context's; may be repeated [$SEALCTL_ADDRESSES]"},
		&cli.StringFlag{Name: "ca", Usage: "`FILE` with the CA certificate of the cluster [$SEALCTL_CA]"},
		&cli.StringFlag{Name: "cert", Usage: "`FILE` with your certificate [$SEALCTL_CERT]"},
		&cli.StringFlag{Name: "key", Usage: "`FILE` with its private key [$SEALCTL_KEY]"},
		&cli.StringFlag{Name: "token", Usage: "`FILE` with your token, instead of a certificate [$SEALCTL_TOKEN]"},
	}
}

// with returns s with what other says laid over it. Who the caller is goes as a
// whole: a token in other takes the place of a certificate in s, and the other
// way round.
func (s settings) with(other settings) settings {
	if len(other.Addresses) > 0 {
		s.Addresses = other.Addresses
	}
	if other.CA != "" {
		s.CA = other.CA
	}
	switch {
	case other.Token != "" && (other.Cert != "" || other.Key != ""):
		s.Cert, s.Key, s.Token = other.Cert, other.Key, other.Token // check refuses it
	case other.Token != "":
		s.Cert, s.Key, s.Token = "", "", other.Token
	case other.Cert != "" || other.Key != "":
		s.Token = ""
		if other.Cert != "" {
			s.Cert = other.Cert
		}
		if other.Key != "" {
			s.Key = other.Key
		}
	}
	return s
}

// near makes the names of files relative to a directory.
func (s settings) near(dir string) settings {
	for _, f := range []*string{&s.CA, &s.Cert, &s.Key, &s.Token} {
		if *f != "" && !filepath.IsAbs(*f) {
			*f = filepath.Join(dir, *f)
		}
	}
	return s
}

// caller is who settings say that calls, and whom he trusts.
type caller struct {
	roots *x509.CertPool
	cert  *tls.Certificate // nil: token
	token string
}

// load checks settings and reads their files. from says where to mend them.
func (s settings) load(from string) (*caller, error) {
	wrong := func(format string, args ...any) error {
		return &hinted{exitUsage, fmt.Sprintf(format, args...), "mend it in " + from}
	}
	switch {
	case len(s.Addresses) == 0:
		return nil, &hinted{exitUsage, from + " names no addresses", "list the nodes' admin addresses, such as 127.0.1.1:7443, under addresses"}
	case s.CA == "":
		return nil, wrong("ca is missing: the file of the cluster's CA certificate")
	case s.Token != "" && (s.Cert != "" || s.Key != ""):
		return nil, wrong("there are a token and a certificate: only one of them can say who you are")
	case s.Token == "" && (s.Cert == "" || s.Key == ""):
		return nil, wrong("cert and key, or token, are missing: they say who you are")
	}
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, wrong("the cluster's CA certificate cannot be read: %v", err)
	}
	id := &caller{roots: x509.NewCertPool()}
	if !id.roots.AppendCertsFromPEM(pem) {
		return nil, wrong("%s holds no certificate", s.CA)
	}
	if s.Token != "" {
		text, err := os.ReadFile(s.Token)
		if err != nil {
			return nil, wrong("your token cannot be read: %v", err)
		}
		id.token = strings.TrimSpace(string(text))
		if id.token == "" || strings.ContainsAny(id.token, " \t\r\n") {
			return nil, wrong("%s holds no token: want one line, as 'sealctl token issue' prints it", s.Token)
		}
		return id, nil
	}
	pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return nil, wrong("your certificate cannot be read: %v", err)
	}
	id.cert = &pair
	return id, nil
}

// resolve finds out what a command is to use: flags over environment over the
// context. from names what has to be mended should it be wrong.
func resolve(c *cli.Context) (s settings, from string, err error) {
	over := fromEnvironment().with(fromFlags(c))
	file, err := contextFile(c)
	if err != nil {
		return s, "", err
	}
	if file == "" {
		if len(over.Addresses) == 0 {
			return s, "", &hinted{exitUsage, "there is no context: nothing says where the cluster is", "'sealedge init' writes sealctl.yaml; name it with --context FILE, or keep it with 'sealctl context add NAME --from FILE'"}
		}
		return over, "the flags", nil
	}
	s, err = readContext(file)
	if err != nil {
		return s, "", err
	}
	return s.with(over), "the context " + file, nil
}

func fromFlags(c *cli.Context) settings {
	return settings{Addresses: c.StringSlice("address"), CA: c.String("ca"), Cert: c.String("cert"), Key: c.String("key"), Token: c.String("token")}
}

func fromEnvironment() settings {
	listed := strings.FieldsFunc(os.Getenv("SEALCTL_ADDRESSES"), func(r rune) bool { return r == ',' || r == ' ' })
	return settings{Addresses: listed, CA: os.Getenv("SEALCTL_CA"), Cert: os.Getenv("SEALCTL_CERT"), Key: os.Getenv("SEALCTL_KEY"), Token: os.Getenv("SEALCTL_TOKEN")}
}

// readContext reads a context file, strictly. Names of files in it come back
// relative to where the command was called.
func readContext(file string) (settings, error) {
	v := viper.New()
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		hint := "mend the file; it has the keys addresses, ca, cert and key, or token"
		if errors.Is(err, os.ErrNotExist) {
			hint = "'sealctl context list' shows which there are; 'sealedge init' writes sealctl.yaml; name it with --context FILE or SEALCTL_CONTEXT"
		}
		return settings{}, &hinted{exitUsage, fmt.Sprintf("the context %s cannot be read: %v", file, err), hint}
	}
	var s settings
	if err := v.UnmarshalExact(&s); err != nil {
		return settings{}, &hinted{exitUsage, fmt.Sprintf("the context %s is wrong: %v", file, err), "it has the keys addresses, ca, cert and key, or token"}
	}
	return s.near(filepath.Dir(file)), nil
}
