package telemetry

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// What alerts wait for is exported before it happens for the first time: Prometheus
// sees no increase in a series that begins with its first event.
func TestWatchedEventsBeginAtZero(t *testing.T) {
	src := quiet()
	all := gather(t, registry(src, NewDurations(), new(health)))
	for _, c := range []struct{ family, event string }{
		{"gtpc_events_total", "path-failed"},
		{"phoneapi_events_total", "server-unreachable"},
	} {
		if n, ok := values(all[prefix+c.family])[c.event]; !ok || n != 0 {
			t.Errorf("%s of %s: %v, there: %t; want 0 before the first", c.family, c.event, n, ok)
		}
	}
	uses := samples(all["sealedge_seal_use_request_duration_seconds"])
	for _, outcome := range watchedUses {
		if n, ok := uses["outcome="+outcome]; !ok || n != 0 {
			t.Errorf("uses with the outcome %s: %v, there: %t; want 0 before the first", outcome, n, ok)
		}
	}

	src.Counters = func() map[string]uint64 {
		return map[string]uint64{"gtpc.path-failed": 3, "phoneapi.server-unreachable": 4}
	}
	all = gather(t, registry(src, nil, new(health)))
	if a, b := values(all["sealedge_gtpc_events_total"])["path-failed"], values(all["sealedge_phoneapi_events_total"])["server-unreachable"]; a != 3 || b != 4 {
		t.Errorf("%v and %v are exported of what was counted 3 and 4 times", a, b)
	}
}

// A scrape says of each check what /readyz would say, and of one that hangs that it
// isn't met.
func TestReadinessIsAMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		for _, c := range []struct {
			name   string
			checks []Check
			want   string
		}{
			{"ready", []Check{{"running", met}, {"caught-up", met}}, "map[caught-up:1 running:1]"},
			{"behind", []Check{{"running", met}, {"caught-up", unmet}}, "map[caught-up:0 running:1]"},
			{"hangs", []Check{{"running", met}, {"caught-up", hangs(release)}}, "map[caught-up:0 running:0]"},
		} {
			all := gather(t, registry(quiet(), nil, &health{checks: c.checks}))
			if got := fmt.Sprint(values(all["sealedge_ready"])); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
		close(release)
		synctest.Wait()
	})
}

func TestLastBackup(t *testing.T) {
	src := quiet()
	if _, ok := gather(t, registry(src, nil, new(health)))["sealedge_backup_last_success_timestamp_seconds"]; ok {
		t.Error("a backup is told of before there was one")
	}
	src.BackedUp = func() time.Time { return time.Unix(1000, 500_000_000) }
	if got := values(gather(t, registry(src, nil, new(health)))["sealedge_backup_last_success_timestamp_seconds"])[""]; got != 1000.5 {
		t.Errorf("the last backup was at %v, want 1000.5", got)
	}
}

// hangs is a check that heeds no context.
func hangs(release <-chan struct{}) func(context.Context) error {
	return func(context.Context) error { <-release; return nil }
}
