package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// examplesOf are the examples in a command's description: the lines after
// "Example:" or "Examples:", each a command line or, above one, a comment.
func examplesOf(c *cli.Command) (text string, lines []string) {
	for _, head := range []string{"Examples:\n", "Example:\n"} {
		before, after, ok := strings.Cut(c.Description, head)
		if !ok {
			continue
		}
		for l := range strings.Lines(after) {
			if l = strings.TrimSpace(l); l != "" {
				lines = append(lines, l)
			}
		}
		return strings.TrimSpace(before), lines
	}
	return strings.TrimSpace(c.Description), nil
}

// withExamples puts examples below a description.
func withExamples(description string, lines ...string) string {
	text := "Examples:\n   " + strings.Join(lines, "\n   ")
	if description == "" {
		return text
	}
	return description + "\n\n" + text
}

// globalHelp is what the help of every command ends with.
const globalHelp = "\nOptions of every command, such as -o json: sealctl --help\n"

// exitCodeHelp lists the exit codes.
func exitCodeHelp() string {
	var b strings.Builder
	b.WriteString("\nEXIT CODES:\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "   %d  %s\n", e.code, e.meaning)
	}
	return b.String()
}
