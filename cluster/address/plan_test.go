package address

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
)

// TestPlan writes an address as name@holder, with * if it is granted, ! if it is free, >node if it is
// on its way there, ~node if that is its home and -node if that surrendered it. The
// first of the living leads, or, written (so), the one that is drained; + at the end
// tells that they have for a while.
func TestPlan(t *testing.T) {
	for _, tc := range []struct{ name, living, addresses, want string }{
		{"the only address goes to the leader", "n1 n2 n3", "a@!", "a:n1"},
		{"and with the leader", "n1 n2 n3 +", "a@n2!", "a:n1"},
		{"but stays with who has it granted, until there is calm", "n1 n2 n3", "a@n2", ""},
		{"and comes back then", "n1 n2 n3 +", "a@n2", "a>n1"},
		{"unless it has a home", "n1 n2 n3 +", "a@n2~n2", ""},
		{"which may be dead", "n1 n3 +", "a@n2!~n2", "a:n1"},
		{"one to each", "n1 n2 n3", "a@! b@! c@!", "a:n1 b:n2 c:n3"},
		{"two addresses, three nodes", "n1 n2 n3", "a@! b@!", "a:n1 b:n2"},
		{"two nodes, three addresses", "n2 n3", "a@n1! b@n2 c@n3", "a:n2"},
		{"the dead one's goes to the idle", "n1 n3", "a@n1 b@n2! c@n1", "b:n3"},
		{"who led before keeps it", "n2 n1 n3", "a@n1! b@n2 c@n3", "a:n1"},
		{"who comes back gets nothing at once", "n2 n1 n3", "a@n2 b@n2 c@n3", ""},
		{"but when there is calm", "n2 n1 n3 +", "a@n2 b@n2 c@n3", "a>n1"},
		{"one at a time", "n2 n1 n3 +", "a@n2 b@n2 c@n2", "a>n1"},
		{"and none while one is under way", "n2 n1 n3 +", "a@n2>n1 b@n2 c@n2", ""},
		{"nor while one is free", "n2 n1 n3 +", "a@n2 b@n2 c@!", "c:n1"},
		{"one apart is spread enough", "n1 n2 +", "a@n1 b@n1 c@n2", ""},
		{"what is at home stays where it is crowded", "n1 n2 n3 +", "a@n1~n1 b@n1~n1 c@n3", ""},
		{"and comes home", "n1 n2 n3 +", "a@n1 b@n2~n1 c@n3", "b>n1"},
		{"not back to who surrendered it", "n1 n2", "a@n1 b@n1 c@!-n2", "c:n1"},
		{"unless nobody else is there", "n2", "c@!-n2", "c:n2"},
		{"the leader keeps what it has granted", "n2 n1 n3", "a@! b@n2*! c@!", "a:n1 b:n2 c:n3"},
		{"where it was going", "n1 n2 n3", "a@n1 b@n1 c@!>n1", "c:n1"},
		{"who is drained gets nothing", "n1 n3 (n2)", "a@! b@! c@!", "a:n1 b:n3 c:n1"},
		{"nor what comes home", "n1 n3 (n2) +", "a@n1 b@n3~n2 c@n1", ""},
		{"nor what it led before", "n1 n3 (n2)", "a@n1 b@n2! c@n3", "b:n1"},
		{"and what it has goes at once, to whoever has least", "n1 n3 (n2)", "a@n1 b@n2 c@n1", "b>n3"},
		{"all of it", "n1 n3 (n2) +", "a@n2* b@n2 c@n2", "a>n1 b>n3 c>n1"},
		{"unless it is under way", "n1 n3 (n2)", "a@n1 b@n2>n1 c@n3", ""},
		{"the only one goes to the leader", "n1 n3 (n2)", "a@n2*~n2", "a>n1"},
		{"the leader's own goes with the leadership", "(n1) n2 n3", "a@n1 b@n2 c@n3", ""},
		{"also the only one", "(n1) n2 n3 +", "a@n1", ""},
		{"which it takes while it leads", "(n1) n2 n3", "a@!", "a:n1"},
		{"of several it takes none", "(n1) n2 n3", "a@! b@n2 c@n3", "a:n2"},
		{"who it was going to died", "n1 n2", "a@n1 b@n2 c@n1!>n3", "c:n1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s situation
			for i, node := range strings.Fields(tc.living) {
				name := strings.Trim(node, "()")
				if i == 0 {
					s.leader = name
				}
				switch {
				case node == "+":
					s.settled = true
				case name != node:
					s.drained = append(s.drained, name)
				default:
					s.living = append(s.living, name)
				}
			}
			for _, text := range strings.Fields(tc.addresses) {
				s.addresses = append(s.addresses, parseStanding(text))
			}
			var got []string
			for _, d := range plan(s) {
				how := ":"
				if d.move {
					how = ">"
				}
				got = append(got, fmt.Sprint(d.address.Name, how, d.to))
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%s, living %s: %q, not %q", tc.addresses, tc.living, strings.Join(got, " "), tc.want)
			}
		})
	}
}

func parseStanding(text string) standing {
	name, rest, _ := strings.Cut(text, "@")
	a := standing{GatewayAddress: &command.GatewayAddress{Name: name, Epoch: 1}}
	field := &a.Holder
	for _, c := range rest {
		switch c {
		case '!':
			a.free = true
		case '*':
			a.Granted = true
		case '>':
			field = &a.MovingTo
		case '~':
			field = &a.Home
		case '-':
			field = &a.Left
		default:
			*field += string(c)
		}
	}
	return a
}
