package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/creack/pty"
)

func TestProgressIsForTerminals(t *testing.T) {
	var b bytes.Buffer
	p := startProgress(&b, "rows", 10, false)
	p.Add(3)
	if _, err := p.Write([]byte("four")); err != nil {
		t.Fatal(err)
	}
	p.Done()
	if b.Len() > 0 {
		t.Errorf("a pipe has %q", b.String())
	}
}

func TestProgressAtATerminal(t *testing.T) {
	for _, total := range []int64{1000, -1} {
		leader, tty, err := pty.Open()
		if err != nil {
			t.Skip(err)
		}
		seen := make(chan string)
		go func() {
			b, _ := io.ReadAll(leader) // ends with an error when the terminal is closed
			seen <- string(b)
		}()
		p := startProgress(tty, "rows", total, false)
		p.Add(400)
		p.Done()
		p.Done() // twice is no mistake
		if err := tty.Close(); err != nil {
			t.Fatal(err)
		}
		got := <-seen
		_ = leader.Close()
		if !strings.Contains(got, "rows") || !strings.Contains(got, "400") {
			t.Errorf("of %d: %q", total, got)
		}
		if rest := got[strings.LastIndexByte(got, '\r')+1:]; strings.TrimSpace(rest) != "" && rest != "\x1b[2K" {
			t.Errorf("of %d: %q is left over", total, rest)
		}
	}
}
