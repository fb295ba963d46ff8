package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
	line, err := ask(c, what+" "+name, fmt.Sprintf("This will %s %s and cannot be taken back. Type the name to go on: ", what, name))
	if err != nil {
		return err
	}
	if line != name {
		return &hinted{exitUsage, "nothing was changed: you did not type the name", "with --yes nothing is asked"}
	}
	return nil
}

// ask asks a question on standard error and returns the line that is typed. It
// is a usage error where nobody can be asked: without a terminal, or with
// --no-input.
func ask(c *cli.Context, what, question string) (string, error) {
	switch {
	case c.Bool("no-input"):
		return "", usage(what + " needs an answer, and --no-input forbids to ask: add --yes")
	case !screenOf(c.App.Reader).terminal:
		return "", usage(what + " needs an answer, and there is no terminal to ask at: add --yes")
	}
	fmt.Fprint(c.App.ErrWriter, question)
	line, err := lineOf(c.Context, c.App.Reader)
	if err != nil {
		fmt.Fprintln(c.App.ErrWriter)
		return "", &hinted{exitUsage, "nothing was changed: no answer came", ""}
	}
	return strings.TrimSpace(line), nil
}

// lineOf reads a line for as long as ctx lives: an interrupt has to end a
// question too. The reader is lost then, with its goroutine: the process ends.
func lineOf(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(r).ReadString('\n')
		typed <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-typed:
		return a.line, a.err
	}
}
