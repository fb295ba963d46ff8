package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// onTerminal is the command
//
//	[!] terminal COLUMNS TYPED SEEN PROGRAM [ARG...]
//
// which runs a program at a terminal of so many columns, types what is in the
// file TYPED when it is asked (-: nothing), and puts all that can be seen into the file SEEN.
func onTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: terminal COLUMNS TYPED SEEN PROGRAM [ARG...]")
	}
	columns, err := strconv.ParseUint(args[0], 10, 16)
	ts.Check(err)
	program := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if file := filepath.Join(dir, args[3]); program == "" && exists(file) {
			program = file
		}
	}
	cmd := exec.Command(program, args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SEALCTL_CONTEXT", "SEALCTL_RETRY", "XDG_CONFIG_HOME", "NO_COLOR", "TERM"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: uint16(columns)})
	ts.Check(err)
	defer tty.Close()
	var typed string
	if args[1] != "-" {
		typed = ts.ReadFile(args[1])
		if strings.HasPrefix(typed, "\x03") { // an interrupt, and not the end of a line too
			typed = typed[:1]
		}
	}
	var seen bytes.Buffer
	chunk := make([]byte, 4096)
	for {
		n, err := tty.Read(chunk)
		seen.Write(chunk[:n])
		if err != nil {
			break // the program ended, and there is no terminal any more
		}
		if bytes.HasSuffix(seen.Bytes(), []byte(": ")) { // a question
			_, err := io.WriteString(tty, typed)
			ts.Check(err)
			typed = ""
		}
	}
	err = cmd.Wait()
	text := strings.ReplaceAll(seen.String(), "\r\n", "\n")
	ts.Logf("%s", text)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(text), 0o600))
	if (err != nil) != neg {
		ts.Fatalf("%s ended with %v", args[3], err)
	}
}
