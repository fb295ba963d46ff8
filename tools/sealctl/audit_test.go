package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealedge/sealedge/cluster/command"
)

// plants: the tree over the audit chain begins.
func plants(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Value("node").(*node).propose(&command.RaiseLevel{Level: 2, Nodes: []string{"node1"}}))
}

// awaits FILE REGEXP: what a command in the background writes comes to have it.
func awaits(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[1])
	for end := time.Now().Add(2 * time.Minute); ; {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && want.Match(b) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s doesn't come to have %s: %s", args[0], args[1], b)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.FixedZone("CST", 8*3600))
	for text, want := range map[string]string{
		"2026-11-21T08:00:00Z": "2026-11-21T08:00:00Z",
		"2026-11-21":           "2026-11-20T16:00:00Z",
		"36h":                  "2026-11-20T16:00:00Z",
		"0s":                   "2026-11-22T04:00:00Z",
		"-1h":                  "", "yesterday": "", "": "", "2026-13-01": "",
	} {
		got, err := parseTime(text, now)
		if want == "" && err == nil || want != "" && (err != nil || got.UTC().Format(time.RFC3339) != want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestReadEvents(t *testing.T) {
	var got []string
	err := readEvents(strings.NewReader(": hello\n\nevent: audit\ndata: {\"a\":\ndata: 1}\n\r\nevent: at\r\nid: 7\r\ndata:{}\r\n\r\nevent: cut\ndata: x"), func(event, id string, data []byte) error {
		got = append(got, event+"|"+id+"|"+string(data))
		return nil
	})
	if want := "audit||{\"a\":\n1} at|7|{}"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q, %v", got, err)
	}
}
