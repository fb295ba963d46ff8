package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// A short soak of one node, with the program as it is built now.
func TestSoak(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../../edge/sealedge").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var out strings.Builder
	err := run(t.Context(), []string{"-bin", bin, "-dir", t.TempDir(), "-nodes", "1", "-sessions", "60", "-time", "3s", "-rate", "1000"}, &out)
	if t.Log(out.String()); err != nil {
		t.Error(err)
	}
}

func TestUnchanged(t *testing.T) {
	was := adminapi.Session{ID: 1, IMSI: "001015555500001", Address: "10.64.0.2", Peer: "127.1.20.1", Protocol: "GTPv2", RAT: "EUTRAN"}
	one := func(change func(*adminapi.Session)) map[string]adminapi.Session {
		is := was
		change(&is)
		return map[string]adminapi.Session{is.IMSI: is}
	}
	before := map[string]adminapi.Session{was.IMSI: was}
	if err := unchanged(before, one(func(*adminapi.Session) {})); err != nil {
		t.Error(err)
	}
	for name, after := range map[string]map[string]adminapi.Session{
		"gone":      {},
		"replaced":  one(func(s *adminapi.Session) { s.ID = 2 }),
		"moved":     one(func(s *adminapi.Session) { s.Peer = "127.1.20.17" }),
		"suspended": one(func(s *adminapi.Session) { s.Suspended = true }),
		"other":     one(func(s *adminapi.Session) { s.IMSI = "001015555500002" }),
	} {
		if unchanged(before, after) == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestGrowth(t *testing.T) {
	const mB = 1 << 20
	steady := make([]memory, 50)
	for i := range steady {
		steady[i] = memory{resident: float64(200+i%20) * mB, heap: float64(80+i%10) * mB}
	}
	if err := growthOf("node1", steady).check(); err != nil {
		t.Error(err)
	}
	for name, of := range map[string]func(*memory, float64){
		"heap":     func(m *memory, n float64) { m.heap += n },
		"resident": func(m *memory, n float64) { m.resident += n },
	} {
		growing := make([]memory, len(steady))
		for i, m := range steady {
			of(&m, float64(4*i)*mB)
			growing[i] = m
		}
		if growthOf("node1", growing).check() == nil {
			t.Errorf("%s: growth is not noticed", name)
		}
	}
	// A moment's peak is none.
	peak := append([]memory(nil), steady...)
	peak[len(peak)-1].resident *= 3
	if err := growthOf("node1", peak).check(); err != nil {
		t.Error(err)
	}
}

// The collector's line is read as this version of Go writes it.
func TestCollected(t *testing.T) {
	at := collected.FindStringSubmatch("gc 12 @3.010s 1%: 0.02+1.2+0.01 ms clock, 0.1+0.2/1.0/2.0+0.1 ms cpu, 9->10->6 MB, 12 MB goal, 0 MB stacks, 0 MB globals, 2 P")
	if at == nil || at[1] != "6" {
		t.Errorf("%q", at)
	}
}
