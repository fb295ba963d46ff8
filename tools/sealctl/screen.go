package main

import (
	"os"

	"golang.org/x/term"
)

// screen is what is known of where a stream leads. The zero value is a pipe or
// a file: nothing is cut, coloured or drawn there.
type screen struct {
	terminal bool
	width    int // in columns; 0: not known
	colour   bool
}

// screenOf looks at a writer or a reader.
func screenOf(stream any) screen {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return screen{}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		width = 0
	}
	// https://no-color.org: set to anything but the empty string.
	return screen{terminal: true, width: width, colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// paint is a colour of a word.
type paint string

const (
	plain  paint = ""
	green  paint = "\x1b[32m"
	yellow paint = "\x1b[33m"
	red    paint = "\x1b[31m"
	bold   paint = "\x1b[1m"
	reset        = "\x1b[0m"
)

// painted is text in a colour, where there are colours.
func (s screen) painted(p paint, text string) string {
	if !s.colour || p == plain {
		return text
	}
	return string(p) + text + reset
}
