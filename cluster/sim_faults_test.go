package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// planned is one fault of a schedule.
type planned struct {
	at   time.Duration // after the workload began
	kind string
	do   func(rng *rand.Rand)
	rng  *rand.Rand // of its own, so that what one draws changes no other
}

// faultTime is how long faults are injected for.
const faultTime = 4 * time.Second

// inject carries the plan out.
func (s *sim) inject() {
	began := time.Now()
	for _, f := range s.plan() {
		if !pause(s.ctx, time.Until(began.Add(f.at))) {
			return
		}
		s.mu.Lock()
		s.faults[f.kind]++
		s.mu.Unlock()
		f.do(f.rng)
	}
	pause(s.ctx, time.Until(began.Add(faultTime)))
}

// plan draws the faults of the schedule.
func (s *sim) plan() []planned {
	kinds := []struct {
		name string
		odds int
		do   func(rng *rand.Rand)
	}{
		{"crash of the leader", 3, func(rng *rand.Rand) { s.crashFor(s.target(rng, true), rng) }},
		{"crash of a node", 3, func(rng *rand.Rand) { s.crashFor(s.target(rng, false), rng) }},
		{"crash of all nodes", 1, s.crashAll},
		{"full partition", 2, func(rng *rand.Rand) { s.cutFor("cut off", s.around(s.target(rng, rng.IntN(2) == 0), true, true), rng) }},
		{"one-way partition", 2, func(rng *rand.Rand) {
			out := rng.IntN(2) == 0
			s.cutFor(fmt.Sprintf("cut off one way, outwards %v:", out), s.around(s.target(rng, rng.IntN(2) == 0), out, !out), rng)
		}},
		{"bridging partition", 2, s.bridge},
		{"loss", 2, s.lose},
		{"delay", 2, s.delay},
		{"slow disk", 2, func(rng *rand.Rand) {
			s.hurtFor(rng, time.Duration(20+rng.IntN(300))*time.Millisecond, false, false)
		}},
		{"failing disk", 1, func(rng *rand.Rand) { s.hurtFor(rng, normalLatency, true, false) }},
		{"hung disk", 2, func(rng *rand.Rand) { s.hurtFor(rng, normalLatency, false, true) }},
		{"clock jump", 2, s.shiftClock},
		{"leadership transfer", 3, s.transfer},
		{"snapshot", 3, s.snapshot},
	}
	total := 0
	for _, k := range kinds {
		total += k.odds
	}
	var plan []planned
	for at := time.Duration(0); ; {
		at += time.Duration(s.rng.Int64N(int64(900 * time.Millisecond)))
		if at >= faultTime {
			return plan
		}
		n := s.rng.IntN(total)
		for i, k := range kinds {
			if n -= k.odds; n < 0 {
				plan = append(plan, planned{at, k.name, k.do, rand.New(rand.NewPCG(s.seed, uint64(at)<<8|uint64(i)))})
				break
			}
		}
	}
}

// target picks the leader, or any node.
func (s *sim) target(rng *rand.Rand, leader bool) *simNode {
	n := s.nodes[rng.IntN(len(s.nodes))]
	if l := s.leader(); leader && l != nil {
		n = l
	}
	return n
}

// later does something when a fault has lasted.
func (s *sim) later(d time.Duration, do func()) {
	s.tasks.Go(func() {
		if pause(s.ctx, d) {
			do()
		}
	})
}

func lasting(rng *rand.Rand) time.Duration {
	return 50*time.Millisecond + time.Duration(rng.ExpFloat64()*float64(600*time.Millisecond))
}

func (s *sim) crashFor(n *simNode, rng *rand.Rand) {
	n.crash("fault", rng.IntN(2) == 0, nil)
	s.later(lasting(rng), n.start)
}

func (s *sim) crashAll(rng *rand.Rand) {
	for _, n := range s.nodes {
		s.crashFor(n, rng)
	}
}

// around are the links of a node to and from all others.
func (s *sim) around(n *simNode, out, in bool) map[[2]string]bool {
	pairs := map[[2]string]bool{}
	for _, o := range s.names {
		if o != n.name {
			pairs[[2]string{n.name, o}], pairs[[2]string{o, n.name}] = out, in
		}
	}
	return pairs
}

func (s *sim) cutFor(what string, pairs map[[2]string]bool, rng *rand.Rand) {
	s.logf("%s %v", what, pairs)
	s.net.change(func(pair [2]string, l *simLink) { l.cut = l.cut || pairs[pair] })
	s.later(lasting(rng), func() {
		s.logf("no more %s %v", what, pairs)
		s.net.change(func(pair [2]string, l *simLink) { l.cut = l.cut && !pairs[pair] })
	})
}

// bridge leaves one node that sees both sides, which don't see each other.
func (s *sim) bridge(rng *rand.Rand) {
	order := rng.Perm(len(s.names))
	half := 1 + len(order)/2
	pairs := map[[2]string]bool{}
	for _, a := range order[1:half] {
		for _, b := range order[half:] {
			pairs[[2]string{s.names[a], s.names[b]}], pairs[[2]string{s.names[b], s.names[a]}] = true, true
		}
	}
	s.cutFor("bridging partition", pairs, rng)
}

func (s *sim) lose(rng *rand.Rand) {
	loss := 0.02 + rng.Float64()*0.3
	s.logf("loss of %.2f everywhere", loss)
	s.net.change(func(_ [2]string, l *simLink) { l.loss = loss })
	s.later(lasting(rng), func() {
		s.logf("no more loss")
		s.net.change(func(_ [2]string, l *simLink) { l.loss = 0 })
	})
}

func (s *sim) delay(rng *rand.Rand) {
	n, d := s.target(rng, rng.IntN(2) == 0), time.Duration(rng.IntN(250))*time.Millisecond
	pairs := s.around(n, rng.IntN(2) == 0, true)
	s.logf("delay of %v on %v", d, pairs)
	s.net.change(func(pair [2]string, l *simLink) {
		if pairs[pair] {
			l.delay = d
		}
	})
	s.later(lasting(rng), func() {
		s.logf("no more delay on %v", pairs)
		s.net.change(func(pair [2]string, l *simLink) {
			if pairs[pair] {
				l.delay = 0
			}
		})
	})
}

// hurtFor lets a disk misbehave, and has somebody replace it and start the node
// again.
func (s *sim) hurtFor(rng *rand.Rand, latency time.Duration, fails, hangs bool) {
	n := s.target(rng, rng.IntN(2) == 0)
	s.logf("disk of %s: latency %v, fails %v, hangs %v", n.name, latency, fails, hangs)
	n.disk.set(latency, fails, hangs)
	s.later(lasting(rng)+200*time.Millisecond, func() {
		s.logf("disk of %s is well", n.name)
		n.disk.set(normalLatency, false, false)
		s.later(lasting(rng), n.start)
	})
}

func (s *sim) shiftClock(rng *rand.Rand) {
	n := s.target(rng, rng.IntN(2) == 0)
	// Clocks stay closer together than answers are remembered for: see state.rememberFor.
	d := time.Duration(rng.Int64N(int64(9*time.Minute))) - 4*time.Minute
	s.logf("clock of %s jumps to %v off", n.name, d)
	n.shift.Store(int64(d))
	s.ahead.Store(max(s.ahead.Load(), int64(d)))
	if d > 0 {
		s.mu.Lock()
		s.jumped[n.name] = true
		s.mu.Unlock()
	}
}

func (s *sim) transfer(*rand.Rand) {
	n := s.leader()
	if n == nil {
		return
	}
	node := n.running()
	s.later(0, func() {
		if node != nil {
			ctx, cancel := context.WithTimeout(s.ctx, time.Second)
			defer cancel()
			s.logf("%s hands leadership over: %v", n.name, node.StepDown(ctx))
		}
	})
}

func (s *sim) snapshot(rng *rand.Rand) {
	n := s.target(rng, false)
	node := n.running()
	s.later(0, func() {
		if node != nil {
			s.logf("%s takes a snapshot: %v", n.name, node.raft.Snapshot().Error())
		}
	})
}
