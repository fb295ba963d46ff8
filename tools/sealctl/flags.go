package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves flags before the arguments of their command, because the
// parser below takes everything after the first argument for an argument:
// `sealctl device list -o json` and `sealctl audit verify f.jsonl --head X`
// must mean what they say. Global flags are moved to the very front, so that
// they work anywhere on the line. Everything after "--" stays as it is.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	out := []string{args[0]}
	rest := args[1:]
	var words, global, local []string
	commands, own := app.Commands, []cli.Flag(nil)
	path := []string{}
	for i := 0; i < len(rest); i++ {
		a := rest[i]
		if a == "--" {
			words = append(words, rest[i:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			if c := named(commands, a); c != nil && len(words) == 0 {
				path = append(path, a)
				commands, own = c.Subcommands, c.Flags
				continue
			}
			words = append(words, a)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		take := []string{a}
		f := flagNamed(own, name)
		into := &local
		if f == nil {
			if f = flagNamed(app.Flags, name); f != nil {
				into = &global
			}
		}
		if f != nil && !hasValue && takesValue(f) && i+1 < len(rest) {
			i++
			take = append(take, rest[i])
		}
		*into = append(*into, take...)
	}
	out = append(out, global...)
	out = append(out, path...)
	out = append(out, local...)
	return append(out, words...)
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

func takesValue(f cli.Flag) bool {
	v, ok := f.(cli.DocGenerationFlag)
	return ok && v.TakesValue()
}
