package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// memory is what a node has in use at a moment, in bytes.
type memory struct {
	resident float64
	heap     float64 // what the last collection left alive
}

// collected is a line of the garbage collector's (GODEBUG=gctrace=1): the last of
// the three sizes is what is alive.
var collected = regexp.MustCompile(`^gc \d+ @.* \d+->\d+->(\d+) MB, `)

// memory reads what the kernel and the collector say.
func (n *node) memory() (m memory, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(status)) {
		if w := strings.Fields(line); len(w) == 3 && w[0] == "VmRSS:" {
			kB, err := strconv.ParseFloat(w[1], 64)
			if err != nil {
				return m, err
			}
			m.resident = kB * 1024
		}
	}
	f, err := os.Open(n.log)
	if err != nil {
		return m, err
	}
	defer f.Close()
	// Enough of the end: a node writes little else.
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		if _, err := f.Seek(-logTail, 2); err != nil {
			return m, err
		}
	}
	for s := bufio.NewScanner(f); s.Scan(); {
		if at := collected.FindStringSubmatch(s.Text()); at != nil {
			mB, err := strconv.ParseFloat(at[1], 64)
			if err != nil {
				return m, err
			}
			m.heap = mB * (1 << 20)
		}
	}
	return m, nil
}

const logTail = 1 << 20

// growth is a node's memory after the warm-up and at the end: medians of what
// was seen in the fifth of the time after the one and before the other, because
// a collector's and a snapshot's moments come and go.
type growth struct {
	node          string
	before, after memory
}

// Tolerances: what caches may still gain after a warm-up that was too short to
// fill them, and noise.
const (
	tolerance     = 0.25
	heapSlack     = 16 << 20
	residentSlack = 48 << 20
)

func growthOf(node string, seen []memory) growth {
	fifth := max(1, len(seen)/5)
	middle := func(some []memory, of func(memory) float64) float64 {
		var all []float64
		for _, m := range some {
			all = append(all, of(m))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	at := func(some []memory) memory {
		return memory{
			resident: middle(some, func(m memory) float64 { return m.resident }),
			heap:     middle(some, func(m memory) float64 { return m.heap }),
		}
	}
	return growth{node, at(seen[:fifth]), at(seen[len(seen)-fifth:])}
}

// check fails when a node grew.
func (g growth) check() error {
	switch {
	case g.before.heap > 0 && g.after.heap > g.before.heap*(1+tolerance)+heapSlack: // 0: nothing was collected yet
		return fmt.Errorf("the heap of %s grew from %s to %s", g.node, megabytes(g.before.heap), megabytes(g.after.heap))
	case g.after.resident > g.before.resident*(1+tolerance)+residentSlack:
		return fmt.Errorf("the memory of %s grew from %s to %s", g.node, megabytes(g.before.resident), megabytes(g.after.resident))
	}
	return nil
}

func megabytes(n float64) string { return fmt.Sprintf("%.0f MB", n/(1<<20)) }
