package address

import (
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// situation is what the leader decides on: who gets which address.
type situation struct {
	leader    string
	living    []string // that addresses may be given to; the leader included, unless it is drained
	drained   []string // these live, too, and are about to stop
	settled   bool     // these have been living for a while: moves are worth their while
	addresses []standing
}

// standing is one address.
type standing struct {
	*command.GatewayAddress
	// free: nobody else can hold it, and nobody does as he should. It is to be
	// assigned at once.
	free bool
}

// decision is what to do about one address: assign it, or have it moved.
type decision struct {
	address standing
	to      string
	move    bool
}

// plan spreads the addresses over the living: to each as many as to the others, or
// one more. Who is drained gets nothing, and what it has goes to others at once. Who lives keeps what it has, except that an address comes home where an
// operator wants it, and that one moves to whoever has less by two: one at a time,
// and nothing moves while an address is free or under way. The only address of a
// cluster goes with the leader, for whom moving is fastest, unless it has a home.
func plan(s situation) []decision {
	load := map[string]int{}
	for _, a := range s.addresses {
		if !a.free || s.stays(a) {
			load[a.Holder]++
		}
	}
	var todo []decision
	under := false
	for _, a := range s.addresses {
		under = under || a.free || a.MovingTo != ""
		if !a.free {
			continue
		}
		to := s.leader
		if !s.stays(a) {
			to = s.goesTo(a, load)
			load[to]++
		}
		todo = append(todo, decision{address: a, to: to})
	}
	for _, a := range s.addresses {
		if s.leaves(a) {
			todo = append(todo, decision{address: a, to: s.refuge(a, load), move: true})
		}
	}
	if under || !s.settled || len(todo) > 0 {
		return todo
	}
	for _, a := range s.addresses {
		if wanted := s.wants(a); wanted != "" && wanted != a.Holder {
			return []decision{{address: a, to: wanted, move: true}}
		}
	}
	least := s.least(load, "")
	for _, a := range s.addresses {
		if a.Home == "" && len(s.addresses) > 1 && load[a.Holder] >= load[least]+2 {
			return []decision{{address: a, to: least, move: true}}
		}
	}
	return nil
}

// leaves tells whether an address is to go away from a node that is drained. The
// leader's goes with the leadership.
func (s situation) leaves(a standing) bool {
	return !a.free && a.MovingTo == "" && a.Holder != s.leader && slices.Contains(s.drained, a.Holder)
}

// refuge is where an address goes that leaves.
func (s situation) refuge(a standing, load map[string]int) string {
	to := s.wants(a)
	if to == "" || slices.Contains(s.drained, to) {
		to = s.least(load, a.Holder)
	}
	load[to]++
	return to
}

// stays tells whether an address is free because the leader, who has it granted, is
// to have it led.
func (s situation) stays(a standing) bool {
	return a.free && a.Granted && a.Holder == s.leader
}

// wants is the node that an address is to be on whatever the others have; empty:
// it makes no difference, or that one is dead.
func (s situation) wants(a standing) string {
	switch {
	case slices.Contains(s.living, a.Home):
		return a.Home
	case len(s.addresses) == 1:
		return s.leader
	}
	return ""
}

// goesTo picks who gets a free address.
func (s situation) goesTo(a standing, load map[string]int) string {
	if slices.Contains(s.living, a.MovingTo) {
		return a.MovingTo
	}
	// Who surrendered it is about to stop, or it had a reason.
	if wanted := s.wants(a); wanted != "" && (wanted != a.Left || len(s.living) == 1) {
		return wanted
	}
	to := s.least(load, a.Left)
	if slices.Contains(s.living, a.Holder) && load[a.Holder] == load[to] {
		to = a.Holder
	}
	return to
}

// least is who of the living has the fewest addresses, rather the leader than
// another, and rather anybody than shun.
func (s situation) least(load map[string]int, shun string) string {
	best := ""
	for _, n := range s.living {
		switch {
		case best == "", best == shun:
			best = n
		case n == shun:
		case load[n] < load[best], load[n] == load[best] && n == s.leader:
			best = n
		}
	}
	return best
}
