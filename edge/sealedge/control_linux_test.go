package main

import "testing"

// The kernel's word on who called decides, not only the socket's mode.
func TestOnlyTheNodesUserMayCommand(t *testing.T) {
	for _, c := range []struct {
		caller uint32
		own    int
		ok     bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}} {
		if err := sameUID(c.caller, c.own); (err == nil) != c.ok {
			t.Errorf("user %d asks the node of user %d: %v", c.caller, c.own, err)
		}
	}
}
