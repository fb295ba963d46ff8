package cluster

import (
	"strings"
	"testing"
)

// TestSimulationCatchesMutants plants a fault in the product, or in what it
// relies on, and expects the checks to find it within a number of schedules, for
// the reason given.
func TestSimulationCatchesMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of schedules")
	}
	for _, tc := range []struct {
		mut    mutant
		within uint64 // schedules
		by     string // what the check that has to find it says
	}{
		{dedupOff, 100, "is not linearizable"},
		{localCounter, 10, "are permitted"},
		{staleReads, 20, "is not linearizable"},
		{verifyLeader, 400, "is not linearizable"},
		{lyingDisk, 200, ""},
		{longLease, 200, "hold the lease at the same time"},
		{ownClock, 400, "the cluster's clock is"},
	} {
		t.Run(tc.mut.String(), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= tc.within; seed++ {
				if out := simulate(t, seed, tc.mut); out.wrong && strings.Contains(out.report, tc.by) {
					what, _, _ := strings.Cut(out.report, "\n\nwhat happened")
					t.Logf("caught after %d schedules: %s", seed, what)
					return
				}
			}
			t.Errorf("not caught in %d schedules", tc.within)
		})
	}
}
