package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// readPassword reads the one line of a file, or of standard input for "-".
func readPassword(file string) (adminapi.Password, error) {
	const hint = "name a file with the password and nothing else, or pipe it in with --password-file -"
	in := os.Stdin
	if file == "-" {
		if info, err := in.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 {
			return "", &hinted{exitUsage, "a password that is typed here would be seen by who stands behind you", hint}
		}
	} else {
		f, err := os.Open(file)
		if err != nil {
			return "", &hinted{exitUsage, fmt.Sprintf("the password cannot be read: %v", err), hint}
		}
		defer f.Close()
		in = f
	}
	const most = 4 << 10
	raw, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return "", &hinted{exitUsage, fmt.Sprintf("the password cannot be read: %v", err), hint}
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	switch {
	case line == "":
		return "", &hinted{exitUsage, "the password file is empty", hint}
	case strings.ContainsAny(line, "\r\n") || len(raw) > most:
		return "", &hinted{exitUsage, "the password file has more than one line", hint}
	}
	return adminapi.Password(line), nil
}
