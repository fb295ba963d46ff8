package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/tools/drill"
)

// completeWord is the command by which the scripts of 'sealctl completion' ask
// what may stand where the cursor is: the words up to there are its arguments,
// the last of them being typed. It answers with a candidate a line, followed by
// a tab and what it is, or with fileNames.
const completeWord = "__complete"

// fileNames is the answer that the shell is to complete names of files.
const fileNames = ":files"

// completionTime is how long a person at a prompt waits for names of objects.
const completionTime = 1500 * time.Millisecond

// candidate is a word that may be meant.
type candidate struct{ word, about string }

// complete answers the shells' scripts. It says nothing when it can't help.
func complete(ctx context.Context, words []string, stdout io.Writer) {
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	words = joined(words)
	current := ""
	if len(words) > 0 {
		current, words = words[len(words)-1], words[:len(words)-1]
	}
	app := newApp(io.Discard, io.Discard)
	l := &typedLine{app: app, commands: app.Commands}
	pending, ok := l.walk(words)
	if !ok {
		return
	}
	var found []candidate
	app.Before = nil
	app.Action = func(c *cli.Context) error {
		found = l.candidates(c, pending, current)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	_ = app.RunContext(ctx, append([]string{app.Name}, l.global...)) // a wrong flag offers nothing
	typed, prefix := current, ""
	if name, value, ok := strings.Cut(current, "="); ok && strings.HasPrefix(current, "-") {
		typed, prefix = value, name+"="
	}
	for _, f := range found {
		if f.word == fileNames {
			fmt.Fprintln(stdout, fileNames)
			return
		}
	}
	for _, f := range found {
		if strings.HasPrefix(f.word, typed) && f.word != "" {
			fmt.Fprintf(stdout, "%s%s\t%s\n", prefix, clean(f.word), clean(f.about))
		}
	}
}

// joined undoes that bash takes --flag=value for three words.
func joined(words []string) []string {
	var all []string
	for i := 0; i < len(words); i++ {
		if n := len(all); words[i] == "=" && n > 0 && strings.HasPrefix(all[n-1], "--") {
			all[n-1] += "="
			if i+1 < len(words) {
				i++
				all[n-1] += words[i]
			}
			continue
		}
		all = append(all, words[i])
	}
	return all
}

// walk reads the words before the one that is typed. pending is the flag whose
// value that is; ok is false when nothing can follow these words.
func (l *typedLine) walk(words []string) (pending cli.Flag, ok bool) {
	for i := 0; i < len(words); i++ {
		a := words[i]
		if a == "--" {
			l.words = append(l.words, words[i+1:]...)
			return nil, true
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			if l.word(a) != nil {
				return nil, false
			}
			continue
		}
		f, _ := l.find(strings.TrimLeft(a, "-"))
		if f != nil && takesValue(f) && i == len(words)-1 {
			return f, true
		}
		used, err := l.flag(a, words[i+1:])
		if err != nil {
			return nil, false
		}
		i += used
	}
	return nil, true
}

// candidates are what may stand where the cursor is.
func (l *typedLine) candidates(c *cli.Context, pending cli.Flag, current string) []candidate {
	if name, _, ok := strings.Cut(current, "="); ok && strings.HasPrefix(name, "-") {
		pending, _ = l.find(strings.TrimLeft(name, "-"))
		if pending == nil {
			return nil
		}
	}
	switch {
	case pending != nil:
		return l.values(c, pending)
	case strings.HasPrefix(current, "-"):
		return l.flags()
	case len(l.commands) > 0:
		var all []candidate
		for _, s := range l.commands {
			if !s.Hidden {
				all = append(all, candidate{s.Name, s.Usage})
			}
		}
		return all
	}
	return slices.DeleteFunc(l.objects(c, l.placeholder()), func(f candidate) bool { return slices.Contains(l.words, f.word) })
}

func (l *typedLine) flags() []candidate {
	all := []candidate{{"--help", "show help"}}
	own := []cli.Flag(nil)
	if cmd := l.command(); cmd != nil {
		own = cmd.Flags
	}
	for _, f := range slices.Concat(own, l.app.Flags) {
		if name := f.Names()[0]; name != "help" {
			all = append(all, candidate{"--" + name, strings.ReplaceAll(usageOf(f), "`", "")})
		}
	}
	return all
}

// values are those of a flag, by its name or by what its usage calls them.
func (l *typedLine) values(c *cli.Context, f cli.Flag) []candidate {
	switch f.Names()[0] {
	case "output":
		return wordsOf(formats...)
	case "context":
		if all := contexts(); all != nil {
			return all
		}
		return wordsOf(fileNames)
	}
	_, after, ok := strings.Cut(usageOf(f), "`")
	if !ok {
		return nil
	}
	placeholder, _, _ := strings.Cut(after, "`")
	return l.objects(c, placeholder)
}

// placeholder is what the command's usage calls the argument that is typed.
func (l *typedLine) placeholder() string {
	cmd := l.command()
	if cmd == nil || cmd.ArgsUsage == "" {
		return ""
	}
	names := slices.DeleteFunc(strings.Fields(cmd.ArgsUsage), func(word string) bool { return word == "|" })
	last := names[len(names)-1]
	n := len(l.words)
	if n >= len(names) {
		if !strings.Contains(last, "...") {
			return ""
		}
		n = len(names) - 1
	}
	return strings.Trim(names[n], "[].")
}

func wordsOf(words ...string) []candidate {
	var all []candidate
	for _, w := range words {
		all = append(all, candidate{word: w})
	}
	return all
}

func contexts() []candidate {
	names, err := contextNames()
	if err != nil {
		return nil
	}
	return wordsOf(names...)
}

// objects are the things that a placeholder stands for. Lower-case words stand
// for themselves.
func (l *typedLine) objects(c *cli.Context, placeholder string) []candidate {
	var all []candidate
	for kind := range strings.SplitSeq(placeholder, "|") {
		group := ""
		if len(l.path) > 0 {
			group = l.path[0].Name
		}
		key, named, pair := strings.Cut(kind, "=")
		switch {
		case kind == "":
		case pair: // imsi=IMSI
			for _, f := range l.objects(c, named) {
				all = append(all, candidate{key + "=" + f.word, f.about})
			}
		case kind == strings.ToLower(kind):
			all = append(all, candidate{word: kind})
		case strings.Contains(kind, "FILE") || kind == "DIRECTORY" || kind == "OLD" || kind == "NEW":
			return []candidate{{fileNames, ""}}
		case group == "context" && kind == "NAME":
			all = append(all, contexts()...)
		case group == "drill" && kind == "NAME":
			for _, d := range drill.Drills() {
				all = append(all, candidate{d.Name, d.Summary})
			}
		default:
			k, ok := kinds[group+" "+kind]
			if !ok {
				k, ok = kinds[kind]
			}
			if ok {
				all = append(all, k.read(c)...)
			}
		}
	}
	return all
}

// kind is a list of the cluster whose items have names.
type kind struct{ path, name, about string }

// kinds are the lists by what a command's usage calls their names, where need be
// after the command's first word.
var kinds = map[string]kind{
	"IMSI":         {"/v1/terminals", "imsi", "label"},
	"BARREL":       {"/v1/barrels", "id", "label"},
	"ORDER":        {"/v1/orders", "number", "state"},
	"USE":          {"/v1/uses", "id", "order"},
	"change ID":    {"/v1/changes", "id", "reason"},
	"token ID":     {"/v1/tokens", "id", "label"},
	"session ID":   {"/v1/sessions", "id", "imsi"},
	"cluster NAME": {"/v1/cluster/members", "name", "state"},
	"cluster ID":   {"/v1/cluster/members", "id", "state"},
	"cluster NODE": {"/v1/cluster/members", "name", "state"},
	"fallback KEY": {"/v1/fallback/keys", "public_key", "since"},
	"REVISION":     {"/v1/policy/history", "revision", "applied"},
}

// read gets the names from a node, as the caller, or nothing.
func (k kind) read(c *cli.Context) []candidate {
	cl, err := newClient(c)
	if err != nil {
		return nil
	}
	cl = cl.once()
	cl.stderr = io.Discard
	cl.verbose = false
	var doc any
	if err := cl.call(c.Context, http.MethodGet, k.path, nil, &doc); err != nil {
		return nil
	}
	if page, ok := doc.(map[string]any); ok {
		doc = page["items"]
	}
	items, _ := doc.([]any)
	var all []candidate
	for _, item := range items {
		if fields, ok := item.(map[string]any); ok {
			all = append(all, candidate{textOf(fields[k.name]), textOf(fields[k.about])})
		}
	}
	return all
}

// textOf is a value of JSON as it is typed.
func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprint(v)
}
