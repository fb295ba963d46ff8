package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Every command has an example in its help, which is a command line that is
// understood, and a script of what a person types and sees.
func TestEveryCommandHasManners(t *testing.T) {
	scripts := scripted(t)
	idle := maps.Clone(examples)
	verbs(newApp(io.Discard, io.Discard), func(path []string, c *cli.Command) {
		name := strings.Join(path, " ")
		text, lines := examplesOf(c)
		if c.Usage == "" {
			t.Errorf("%s: its help says nothing", name)
		}
		if len(lines) == 0 {
			t.Errorf("%s: no example: end its Description with withExamples (help.go)", name)
		}
		if strings.Contains(text, "xample:") {
			t.Errorf("%s: examples begin with a line Examples:", name)
		}
		if slices.Equal(lines, examples[name]) {
			delete(idle, name)
		}
		shown := false
		for _, l := range lines {
			words, ok := commandLine(l)
			if !ok {
				continue
			}
			if _, err := arrange(newApp(io.Discard, io.Discard), words); err != nil {
				t.Errorf("%s: its example %q is not understood: %v", name, l, err)
			}
			shown = shown || slices.Equal(commandOf(words), path)
		}
		if !shown && len(lines) > 0 {
			t.Errorf("%s: none of its examples is one of it: %q", name, lines)
		}
		if !scripts[name] {
			t.Errorf("%s: no script in testdata calls it", name)
		}
	})
	for name := range idle {
		t.Errorf("%s: its examples in examples.go are nobody's: there is no such command, or it has its own", name)
	}
}

// commandLine is the words of the first sealctl in a line of a shell; of what the
// shell makes of it only quotes are understood.
func commandLine(l string) (words []string, ok bool) {
	at := strings.Index(l, "sealctl ")
	if at < 0 || strings.HasPrefix(strings.TrimSpace(l), "#") {
		return nil, false
	}
	quoted, word, in := rune(0), "", false
	for _, r := range l[at:] {
		switch {
		case quoted != 0 && r == quoted:
			quoted = 0
		case quoted != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quoted, in = r, true
		case strings.ContainsRune(" \t|><;&)", r):
			if in {
				words = append(words, word)
			}
			if word, in = "", false; !strings.ContainsRune(" \t", r) {
				return words, true
			}
		default:
			word, in = word+string(r), true
		}
	}
	if in {
		words = append(words, word)
	}
	return words, true
}

// commandOf is which command a line calls.
func commandOf(words []string) []string {
	l := &typedLine{app: newApp(io.Discard, io.Discard)}
	l.commands = l.app.Commands
	_ = l.read(words[1:]) // a mistake ends it, and what it called till then counts
	var path []string
	for _, c := range l.path {
		path = append(path, c.Name)
	}
	return path
}

// scripted are the commands that the scripts in testdata call.
func scripted(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	all := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			l = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(l), "!"), "?"))
			if words, ok := commandLine(l); ok && strings.HasPrefix(l, "sealctl ") {
				all[strings.Join(commandOf(words), " ")] = true
			}
		}
	}
	return all
}

// Codes are told apart by scripts: none means two things, and each is explained.
func TestExitCodesAreDistinct(t *testing.T) {
	seen := map[int]bool{}
	for _, e := range exitCodes {
		if seen[e.code] || e.meaning == "" {
			t.Errorf("exit code %d is there twice, or means nothing", e.code)
		}
		seen[e.code] = true
	}
	for code := exitOK; code <= exitVerification; code++ {
		if !seen[code] {
			t.Errorf("exit code %d is not explained", code)
		}
	}
}
