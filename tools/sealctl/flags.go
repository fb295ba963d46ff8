package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts a command line into the order that the parser below it needs: it
// takes everything after the first argument for an argument, and a flag of the
// whole program only before the command. `sealctl device list -o json` and
// `sealctl audit verify f.jsonl --head X` must mean what they say, and a
// mistyped word must be named, with what may be meant. Everything after "--"
// stays as it is.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	l := &typedLine{app: app, commands: app.Commands}
	rest := args[1:]
	if len(rest) > 0 && rest[0] == "help" { // what people type first
		rest = append(slices.Clone(rest[1:]), "--help")
	}
	if err := l.read(rest); err != nil {
		return nil, err
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	out := append([]string{args[0]}, l.global...)
	for _, c := range l.path {
		out = append(out, c.Name)
	}
	for _, f := range l.local {
		out = append(out, f.text)
	}
	if len(l.words) > 0 {
		out = append(append(out, "--"), l.words...)
	}
	return out, nil
}

// typedLine is a command line that is being read.
type typedLine struct {
	app      *cli.App
	path     []*cli.Command
	commands []*cli.Command // that may come next
	global   []string
	local    []localFlag
	words    []string
	help     bool
}

// localFlag is a flag that must be of the command that the line names in the end.
type localFlag struct {
	typed string // as it was, without a value: for words about it
	name  string
	text  string // for the parser
}

func (l *typedLine) command() *cli.Command {
	if len(l.path) == 0 {
		return nil
	}
	return l.path[len(l.path)-1]
}

func (l *typedLine) read(rest []string) error {
	for i := 0; i < len(rest); i++ {
		a := rest[i]
		switch {
		case a == "--":
			l.words = append(l.words, rest[i+1:]...)
			return nil
		case !strings.HasPrefix(a, "-") || a == "-":
			if err := l.word(a); err != nil {
				return err
			}
		default:
			used, err := l.flag(a, rest[i+1:])
			if err != nil {
				return err
			}
			i += used
		}
	}
	return nil
}

// word is a command, or an argument of one.
func (l *typedLine) word(a string) error {
	if len(l.commands) == 0 {
		l.words = append(l.words, a)
		return nil
	}
	c := named(l.commands, a)
	if c == nil {
		return usage(fmt.Sprintf("there is no command %q here", a) + didYouMean(a, commandNames(l.commands)))
	}
	l.path, l.commands = append(l.path, c), c.Subcommands
	return nil
}

// flag reads a flag and says how many of the words that follow are its value.
func (l *typedLine) flag(a string, next []string) (used int, err error) {
	name, value, given := strings.Cut(strings.TrimLeft(a, "-"), "=")
	typed, _, _ := strings.Cut(a, "=")
	if name == "help" || name == "h" {
		l.help = true
		l.local = append(l.local, localFlag{typed, "help", "--help"})
		return 0, nil
	}
	f, global := l.find(name)
	if f == nil && !strings.HasPrefix(a, "--") && len(name) > 1 {
		return l.cluster(a, next)
	}
	if f == nil {
		l.local = append(l.local, localFlag{typed, name, a}) // check names it, when the command is known
		return 0, nil
	}
	if takesValue(f) && !given {
		if len(next) == 0 {
			return 0, usage(typed + " needs a value")
		}
		value, given, used = next[0], true, 1
		if l.isFlag(value) {
			return 0, usage(fmt.Sprintf("%s needs a value, and %s is a flag; if it is meant as the value, write %s=%s", typed, value, typed, value))
		}
	}
	text := "--" + f.Names()[0]
	if given {
		text += "=" + value
	}
	if global {
		l.global = append(l.global, text)
	} else {
		l.local = append(l.local, localFlag{typed, f.Names()[0], text})
	}
	return used, nil
}

// cluster reads several flags of one letter in one word, the last perhaps with
// its value: -yo json, -ojson.
func (l *typedLine) cluster(a string, next []string) (used int, err error) {
	for i, r := range a[1:] {
		f, _ := l.find(string(r))
		if f == nil {
			l.local = append(l.local, localFlag{a, a[1:], a})
			return 0, nil
		}
		if tail := a[1+i+1:]; takesValue(f) && tail != "" {
			return l.flag("-"+string(r)+"="+strings.TrimPrefix(tail, "="), nil)
		}
		if used, err = l.flag("-"+string(r), next); err != nil {
			return 0, err
		}
	}
	return used, nil
}

// find looks for a flag: of the command so far, of the program, and of what may
// come below the command, as a flag may stand before it.
func (l *typedLine) find(name string) (f cli.Flag, global bool) {
	if c := l.command(); c != nil {
		if f := flagNamed(c.Flags, name); f != nil {
			return f, false
		}
	}
	if f := flagNamed(append(slices.Clone(l.app.Flags), cli.VersionFlag), name); f != nil {
		return f, true
	}
	return flagBelow(l.commands, name), false
}

// isFlag tells whether a word that stands where a value should is one of the
// flags.
func (l *typedLine) isFlag(word string) bool {
	if !strings.HasPrefix(word, "-") || word == "-" {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	f, _ := l.find(name)
	return f != nil || name == "help"
}

// check refuses flags that the command hasn't, and names those that it needs.
func (l *typedLine) check() error {
	c := l.command()
	var own []cli.Flag
	if c != nil {
		own = c.Flags
	}
	given := map[string]bool{}
	for _, f := range l.local {
		given[f.name] = true
		if f.name != "help" && flagNamed(own, f.name) == nil {
			return usage("flag provided but not defined: " + f.typed + suggestFlag(f, slices.Concat(own, l.app.Flags)))
		}
	}
	if l.help {
		return nil
	}
	for _, f := range own {
		if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() && !given[f.Names()[0]] {
			return usage("--" + f.Names()[0] + " is missing: " + strings.ReplaceAll(usageOf(f), "`", ""))
		}
	}
	return nil
}

func suggestFlag(typed localFlag, flags []cli.Flag) string {
	names := []string{"help"}
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				names = append(names, n)
			}
		}
	}
	if name := nearest(typed.name, names); name != "" {
		return fmt.Sprintf(". Did you mean \"--%s\"?", name)
	}
	return ""
}

func usageOf(f cli.Flag) string {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		return d.GetUsage()
	}
	return ""
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	return names
}

func named(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func flagNamed(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// flagBelow finds a flag of any command. Commands that share a name of a flag
// agree on whether it takes a value; a test sees to it.
func flagBelow(commands []*cli.Command, name string) cli.Flag {
	for _, c := range commands {
		if f := flagNamed(c.Flags, name); f != nil {
			return f
		}
		if f := flagBelow(c.Subcommands, name); f != nil {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	v, ok := f.(cli.DocGenerationFlag)
	return ok && v.TakesValue()
}
