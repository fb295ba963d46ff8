package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestArrange(t *testing.T) {
	for typed, want := range map[string]string{
		"device list -o json":          "--output=json device list",
		"-o json device list":          "--output=json device list",
		"device -o json list":          "--output=json device list",
		"device list -ojson":           "--output=json device list",
		"device list -yo json":         "--yes --output=json device list",
		"device list -yo=json":         "--yes --output=json device list",
		"device list --output=json":    "--output=json device list",
		"device list --yes=false":      "--yes=false device list",
		"device show 1 --stale":        "--stale device show -- 1",
		"device show -- -1":            "device show -- -1",
		"device show -- 1 --stale":     "device show -- 1 --stale",
		"device revoke 1 --reason x":   "device revoke --reason=x -- 1",
		"--reason x device revoke 1":   "device revoke --reason=x -- 1",
		"device --reason x revoke 1":   "device revoke --reason=x -- 1",
		"device revoke 1 --reason=-x":  "device revoke --reason=-x -- 1",
		"device revoke 1 --reason -x":  "device revoke --reason=-x -- 1",
		"trace imsi=1 -w -":            "trace --write=- -- imsi=1",
		"help device list":             "device list --help",
		"device list --help":           "device list --help",
		"device revoke -h":             "device revoke --help",
		"help":                         "--help",
		"--version":                    "--version",
		"":                             "",
		"device":                       "device",
		"audit verify f --head 00 -v":  "--verbose audit verify --head=00 -- f",
		"device list --context a.yaml": "--context=a.yaml device list",
	} {
		got, err := arrange(newApp(io.Discard, io.Discard), append([]string{"sealctl"}, strings.Fields(typed)...))
		if err != nil || strings.Join(got, " ") != strings.TrimSpace("sealctl "+want) {
			t.Errorf("%s: got %q, %v, want %s", typed, got, err, want)
		}
	}
}

func TestArrangeRefuses(t *testing.T) {
	for typed, want := range map[string]string{
		"devise list":                       `there is no command "devise" here. Did you mean "device"?`,
		"device lst --apn x":                `there is no command "lst" here. Did you mean "list"?`,
		"device xyzzy":                      `there is no command "xyzzy" here`,
		"device list --stal":                `flag provided but not defined: --stal. Did you mean "--stale"?`,
		"device revoke 1 --raeson x":        `flag provided but not defined: --raeson. Did you mean "--reason"?`,
		"device list --reason x":            `flag provided but not defined: --reason`,
		"device list -q":                    `flag provided but not defined: -q`,
		"device list -yq":                   `flag provided but not defined: -yq`,
		"device list -o":                    `-o needs a value`,
		"device revoke 1 --reason --yes":    `--reason needs a value, and --yes is a flag; if it is meant as the value, write --reason=--yes`,
		"device revoke 1":                   `--reason is missing: why; it goes into the audit chain`,
		"device revoke 1 --yes -- --reason": `--reason is missing: why; it goes into the audit chain`,
	} {
		got, err := arrange(newApp(io.Discard, io.Discard), append([]string{"sealctl"}, strings.Fields(typed)...))
		if err == nil || err.Error() != want || exitCode(err) != exitUsage {
			t.Errorf("%s: got %q, %v, want %s", typed, got, err, want)
		}
	}
}

// A flag of a command with the name of one of the whole program would hide what
// was said for the whole program, and flags that may stand before their command
// have to be read alike whichever it is.
func TestFlagsOfCommandsAreTheirOwn(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	values := map[string]bool{}
	verbs(app, func(path []string, c *cli.Command) {
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				where := strings.Join(path, " ") + " --" + name
				if flagNamed(append(slices.Clone(app.Flags), cli.VersionFlag), name) != nil {
					t.Errorf("%s hides the flag of the whole program", where)
				}
				if takes, seen := values[name]; seen && takes != takesValue(f) {
					t.Errorf("%s takes a value here and none elsewhere, or the other way round", where)
				}
				values[name] = takesValue(f)
			}
		}
	})
}

// verbs calls fn for every command that does something.
func verbs(app *cli.App, fn func(path []string, c *cli.Command)) {
	var walk func(path []string, all []*cli.Command)
	walk = func(path []string, all []*cli.Command) {
		for _, c := range all {
			if c.Hidden {
				continue
			}
			here := append(slices.Clone(path), c.Name)
			if len(c.Subcommands) > 0 {
				walk(here, c.Subcommands)
				continue
			}
			fn(here, c)
		}
	}
	walk(nil, app.Commands)
}
