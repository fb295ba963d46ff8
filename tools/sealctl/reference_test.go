package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

//go:generate go test -count=1 -run ^TestReferenceIsCurrent$ . -write

var writeReference = flag.Bool("write", false, "write docs/cli.md anew")

const referenceFile = "../../docs/cli.md"

// docs/cli.md is made of the commands themselves.
func TestReferenceIsCurrent(t *testing.T) {
	want := reference(newApp(io.Discard, io.Discard))
	if *writeReference {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	have, wanted := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i := range min(len(have), len(wanted)) {
		if have[i] != wanted[i] {
			t.Fatalf("docs/cli.md:%d says %q, and the commands say %q: run 'go generate ./tools/sealctl'", i+1, have[i], wanted[i])
		}
	}
	t.Fatalf("docs/cli.md has %d lines, and the commands have %d: run 'go generate ./tools/sealctl'", len(have), len(wanted))
}

const referenceHead = `# sealctl

This page is made of what the commands say of themselves, by ` + "`go generate ./tools/sealctl`" + `.

Data goes to standard output, words go to standard error. Flags may stand anywhere on the line; after ` + "`--`" + ` everything is an
argument. Tables are cut to the width of a terminal and coloured there, never in a pipe or a file, and not under ` + "`NO_COLOR`" + `.
What cannot be taken back is asked for; where nobody can be asked, ` + "`--yes`" + ` has to say it. Completion of a shell's
command lines: ` + "`sealctl completion --help`" + `.

Nodes are asked one after the other until one answers. What may pass, such as an election, is waited for (` + "`--retry`" + `); a
change is carried out once, however often it is sent. ` + "`-v`" + ` says which node answered.

## Exit codes

| code | meaning |
|---|---|
`

func reference(app *cli.App) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.meaning)
	}
	b.WriteString("\n## Options of every command\n\n")
	referenceFlags(&b, app.Flags)
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		fmt.Fprintf(&b, "\n## sealctl %s\n\n%s\n", c.Name, sentence(c.Usage))
		if len(c.Subcommands) == 0 {
			referenceBody(&b, "sealctl "+c.Name, c)
			continue
		}
		if c.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", c.Description)
		}
		for _, s := range c.Subcommands {
			referenceVerb(&b, "sealctl "+c.Name, s)
		}
	}
	return b.String()
}

func referenceVerb(b *strings.Builder, group string, c *cli.Command) {
	name := group + " " + c.Name
	if c.Hidden {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n%s\n", name, sentence(c.Usage))
	referenceBody(b, name, c)
	for _, s := range c.Subcommands {
		referenceVerb(b, name, s)
	}
}

// referenceBody has what is below a command's title.
func referenceBody(b *strings.Builder, name string, c *cli.Command) {
	text, lines := examplesOf(c)
	if len(c.Subcommands) == 0 {
		fmt.Fprintf(b, "\n    %s\n", strings.Join(strings.Fields(name+" "+optionsWord(c)+" "+c.ArgsUsage), " "))
	}
	if text != "" {
		fmt.Fprintf(b, "\n%s\n", text)
	}
	if len(c.Flags) > 0 {
		b.WriteString("\n")
		referenceFlags(b, c.Flags)
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.Join(lines, "\n"))
	}
}

func optionsWord(c *cli.Command) string {
	if len(c.Flags) > 0 {
		return "[options]"
	}
	return ""
}

func referenceFlags(b *strings.Builder, flags []cli.Flag) {
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		names := slices.Clone(f.Names())
		for i, n := range names {
			if names[i] = "--" + n; len(n) == 1 {
				names[i] = "-" + n
			}
		}
		text, value := usageOf(f), ""
		if takesValue(f) {
			value = " VALUE"
			if before, rest, ok := strings.Cut(text, "`"); ok {
				placeholder, after, _ := strings.Cut(rest, "`")
				value, text = " "+placeholder, before+placeholder+after
			}
		}
		fmt.Fprintf(b, "- `%s%s`: %s%s\n", strings.Join(names, ", "), value, text, notes(f))
	}
}

// notes are a flag's default, its variable, and whether it has to be there.
func notes(f cli.Flag) string {
	var all []string
	if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() {
		all = append(all, "required")
	}
	if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
		if v := d.GetValue(); v != "" && v != `""` && v != "0" && v != "0s" && v != "[]" {
			all = append(all, "default "+strings.Trim(v, `"`))
		}
		for _, v := range d.GetEnvVars() {
			all = append(all, "$"+v)
		}
	}
	if all == nil {
		return ""
	}
	return " (" + strings.Join(all, "; ") + ")"
}

// sentence is a usage as a sentence.
func sentence(usage string) string {
	if usage == "" {
		return ""
	}
	return strings.ToUpper(usage[:1]) + usage[1:] + "."
}
