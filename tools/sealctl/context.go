package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"
)

func contextCommand() *cli.Command {
	return &cli.Command{
		Name:  "context",
		Usage: "which cluster this is about, and who you are there",
		Description: "A context is a YAML file with addresses, ca, and cert and key, or token. What is used is, in this order: the flags\n" +
			"--address, --ca, --cert, --key and --token; the variables SEALCTL_ADDRESSES, SEALCTL_CA, SEALCTL_CERT, SEALCTL_KEY and\n" +
			"SEALCTL_TOKEN; and the context: of --context or SEALCTL_CONTEXT, else the one of 'context use', else sealctl.yaml in\n" +
			"the current directory.",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list your contexts", Action: contextList,
				Description: withExamples("", "sealctl context list", "sealctl context list -o json | jq -r '.[].name'"),
			},
			{
				Name: "show", Usage: "show what would be used, and whether its files can be", ArgsUsage: "[NAME]", Action: contextShow,
				Description: withExamples("Without NAME it is what the next command would use, by its flags and variables.",
					"sealctl context show", "sealctl context show production -o yaml"),
			},
			{
				Name: "use", Usage: "use a context where nothing else is said", ArgsUsage: "NAME", Action: contextUse,
				Description: withExamples("", "sealctl context use production"),
			},
			{
				Name: "add", Usage: "keep a context under a name", ArgsUsage: "NAME", Action: contextAdd,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "from", Usage: "context `FILE` to begin with, such as 'sealedge init' writes"},
					&cli.BoolFlag{Name: "replace", Usage: "take the place of the context that there is"},
				},
				Description: withExamples("The files that it names stay where they are. The first context is the one that is used.",
					"sealctl context add production --from /etc/sealedge/sealctl.yaml",
					"sealctl context add audit --address 10.0.0.1:7443 --address 10.0.0.2:7443 --ca ca.pem --cert li.pem --key li-key.pem",
					"sealctl context add script --from sealctl.yaml --token ~/.sealedge-token"),
			},
			{
				Name: "remove", Usage: "forget a context; its certificate and key stay", ArgsUsage: "NAME", Action: contextRemove,
				Description: withExamples("", "sealctl context remove production"),
			},
		},
	}
}

// contextView is a context as it is shown.
type contextView struct {
	Name      string     `json:"name,omitempty"`
	Current   bool       `json:"current"`
	File      string     `json:"file,omitempty"`
	Addresses []string   `json:"addresses"`
	CA        string     `json:"ca"`
	Cert      string     `json:"cert,omitempty"`
	Key       string     `json:"key,omitempty"`
	Token     string     `json:"token,omitempty"`
	Who       string     `json:"who,omitempty"`
	Roles     []string   `json:"roles,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Problem   string     `json:"problem,omitempty"`
}

// viewOf looks at settings and the files that they name.
func viewOf(s settings, from string) contextView {
	v := contextView{Addresses: s.Addresses, CA: s.CA, Cert: s.Cert, Key: s.Key, Token: s.Token}
	id, err := s.load(from)
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	if id.cert == nil {
		v.Who, _, _ = strings.Cut(id.token, ".") // the rest is secret
		v.Who = "token " + v.Who
		return v
	}
	leaf := id.cert.Leaf
	v.Who, v.Roles, v.Expires = nameIn(leaf), slices.Sorted(slices.Values(leaf.Subject.OrganizationalUnit)), &leaf.NotAfter
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		v.Problem = "your certificate expired at " + leaf.NotAfter.Format(time.RFC3339) + ": have another one issued"
	case now.Before(leaf.NotBefore):
		v.Problem = "your certificate is valid from " + leaf.NotBefore.Format(time.RFC3339) + " on: is this machine's clock right?"
	}
	return v
}

// nameIn is the operator's name in a certificate, as the gateway reads it.
func nameIn(leaf *x509.Certificate) string {
	for _, u := range leaf.URIs {
		if u.Scheme == "sealedge" && u.Host == "operator" {
			return strings.TrimPrefix(u.Path, "/")
		}
	}
	return leaf.Subject.CommonName
}

func contextList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	names, err := contextNames()
	if err != nil {
		return err
	}
	all := []contextView{}
	var rows [][]string
	current := currentContext()
	for _, name := range names {
		v := keptView(name)
		v.Current = name == current
		all = append(all, v)
		rows = append(rows, []string{name, yes(v.Current), strings.Join(v.Addresses, ","), v.Who, strings.Join(v.Roles, ","), dateOf(v.Expires), v.Problem})
	}
	if len(names) == 0 {
		fmt.Fprintln(c.App.ErrWriter, "there is no context yet; keep one with 'sealctl context add NAME --from FILE'")
	}
	return show(c, all, []string{"NAME", "USED", "ADDRESSES", "WHO", "ROLES", "EXPIRES", "PROBLEM"}, rows)
}

func dateOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.DateOnly)
}

func keptView(name string) contextView {
	file, err := kept(name)
	if err == nil {
		var s settings
		if s, err = readContext(file); err == nil {
			v := viewOf(s, "the context "+file)
			v.Name, v.File = name, file
			return v
		}
	}
	return contextView{Name: name, File: file, Problem: err.Error()}
}

func contextShow(c *cli.Context) error {
	if c.NArg() > 1 {
		_, err := arguments(c, "NAME")
		return err
	}
	var v contextView
	if name := c.Args().First(); name != "" {
		if err := mustBeKept(name); err != nil {
			return err
		}
		v = keptView(name)
		v.Current = name == currentContext()
	} else {
		s, from, err := resolve(c)
		if err != nil {
			return err
		}
		v = viewOf(s, from)
		v.File, _ = contextFile(c)
		if name, ok := strings.CutSuffix(filepath.Base(v.File), contextSuffix); ok {
			if file, err := kept(name); err == nil && file == v.File {
				v.Name, v.Current = name, name == currentContext()
			}
		}
	}
	var rows [][]string
	for _, r := range [][]string{
		{"name", v.Name},
		{"file", v.File},
		{"addresses", strings.Join(v.Addresses, ", ")},
		{"ca", v.CA},
		{"cert", v.Cert},
		{"key", v.Key},
		{"token", v.Token},
		{"who", v.Who},
		{"roles", strings.Join(v.Roles, ", ")},
		{"expires", dateOf(v.Expires)},
	} {
		if r[1] != "" {
			rows = append(rows, r)
		}
	}
	if err := show(c, v, []string{"WHAT", "VALUE"}, rows); err != nil {
		return err
	}
	if v.Problem != "" {
		return &hinted{exitUsage, v.Problem, "mend the file, or add the context again with --replace"}
	}
	return nil
}

func mustBeKept(name string) error {
	file, err := kept(name)
	if err == nil && contextName.MatchString(name) && exists(file) {
		return nil
	}
	names, _ := contextNames() // for words only
	return &hinted{exitUsage, fmt.Sprintf("there is no context %q", name) + didYouMean(name, names), "see 'sealctl context list'"}
}

func contextUse(c *cli.Context) error {
	a, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	if err := mustBeKept(a[0]); err != nil {
		return err
	}
	if err := useContext(a[0]); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "%s is used where nothing else is said\n", a[0])
	return nil
}

func useContext(name string) error {
	dir, err := contextDir()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, currentFile), []byte(name+"\n"), 0o600)
}

func contextAdd(c *cli.Context) error {
	a, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	name := a[0]
	if !contextName.MatchString(name) {
		return usage(fmt.Sprintf("%q can't be the name of a context: letters, digits, - and _ can be in it", name))
	}
	s := fromEnvironment().with(fromFlags(c))
	if file := c.String("from"); file != "" {
		base, err := readContext(file)
		if err != nil {
			return err
		}
		s = base.with(s)
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	s = s.near(here)
	if _, err := s.load("the flags, or in the file of --from"); err != nil {
		return err
	}
	if err := keep(name, s, c.Bool("replace")); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "the context %s is kept\n", name)
	if currentContext() == "" {
		if err := useContext(name); err != nil {
			return err
		}
		fmt.Fprintf(c.App.ErrWriter, "%s is used where nothing else is said\n", name)
	}
	return nil
}

// keep writes a context's file.
func keep(name string, s settings, replace bool) error {
	file, err := kept(name)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if replace {
		return os.WriteFile(file, text, 0o600)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return &hinted{exitConflict, fmt.Sprintf("there is a context %s already", name), "choose another name, or add --replace"}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

func contextRemove(c *cli.Context) error {
	a, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	if err := mustBeKept(a[0]); err != nil {
		return err
	}
	file, err := kept(a[0])
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	if currentContext() == a[0] {
		if err := os.Remove(filepath.Join(filepath.Dir(file), currentFile)); err != nil {
			return err
		}
		fmt.Fprintln(c.App.ErrWriter, "no context is used any more where nothing is said")
	}
	fmt.Fprintf(c.App.ErrWriter, "the context %s is forgotten\n", a[0])
	return nil
}
