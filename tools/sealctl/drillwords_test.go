package main

import (
	"testing"

	"github.com/sealedge/sealedge/tools/drill"
)

func TestARoundInWords(t *testing.T) {
	for want, r := range map[string]drill.Round{
		"leader-kill 2: node1 was holder, node2 is; silent for 401 ms, served 400 ms after the fault; passed": {Holder: "node1", Next: "node2", Silence: 401, Recovered: 400},
		"leader-kill 2: node1 was holder, and is; silent for 26 ms, served 69 ms after the fault; passed":     {Holder: "node1", Silence: 26, Recovered: 69},
		"leader-kill 2: node2 was holder, and is; silent for 26 ms, served 64 ms after the fault; FAILED":     {Holder: "node2", Next: "node2", Silence: 26, Recovered: 64, LostSessions: []string{"one"}},
	} {
		r.Sent = 100
		if got := roundInWords("leader-kill", 2, r); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
