package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// confirm asks the person to type the object's name before something that
// can't be taken back. Without a terminal there is nobody to ask: then --yes
// has to say it.
func confirm(c *cli.Context, what, name string) error {
	if c.Bool("yes") {
		return nil
	}
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return usage(fmt.Sprintf("%s %s needs an answer, and there is no terminal to ask at: add --yes", what, name))
	}
	fmt.Fprintf(c.App.ErrWriter, "This will %s %s and cannot be taken back. Type the name to go on: ", what, name)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != name {
		return &hinted{exitUsage, "nothing was changed: you did not type the name", ""}
	}
	return nil
}
