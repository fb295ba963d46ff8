package cluster

import (
	"strings"
	"testing"
	"time"
)

// standingsOf reads nodes, written as name, with ? if it has no vote, ! if it doesn't answer, - if
// it is drained, < if it is behind, and =minutes that its process has been running;
// the first is the one that leads. The further to the left, the more of the log.
func standingsOf(text string, now time.Time) (all []standing) {
	words := strings.Fields(text)
	for i, w := range words {
		name, up, says := strings.Cut(w, "=")
		s := standing{
			id: newNodeID(strings.TrimRight(name, "?!-<")), self: i == 0, match: uint64(len(words) - i),
			votes: !strings.Contains(name, "?"), answers: !strings.Contains(name, "!"), drained: strings.Contains(name, "-"), near: !strings.Contains(name, "<"),
		}
		if says {
			d, err := time.ParseDuration(up)
			if err != nil {
				panic(err)
			}
			s.started = now.Add(-d)
		}
		all = append(all, s)
	}
	return all
}

func TestSuccessor(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tc := range []struct{ what, members, preferred, want string }{
		{"the most advanced", "n1=1h n2=1h n3=1h", "", "n2"},
		{"the preferred one", "n1=1h n2=1h n3=1h", "n3", "n3"},
		{"one that was updated before the preferred one", "n1=1h n2=1h n3=5m", "n2", "n3"},
		{"of those the one that was updated last", "n1=1h n2=5m n3=4m n4=1h", "n4", "n3"},
		{"the preferred one, if it was updated last", "n1=1h n2=4m n3=5m", "n2", "n2"},
		{"seconds between two starts are no update", "n1=1h0m30s n2=1h n3=1h1m", "n3", "n3"},
		{"who doesn't say since when it runs wasn't updated", "n1=1h n2 n3", "n3", "n3"},
		{"no drained one", "n1=1h n2=1h n3-=1h", "n3", "n2"},
		{"no silent one", "n1=1h n2!=5m n3=1h", "", "n3"},
		{"none without a vote", "n1=1h n2?=5m n3=1h", "n2", "n3"},
		{"none that is behind", "n1=1h n2=1h n3<=5m", "n3", "n2"},
		{"nobody", "n1=1h n2!=1h n3-=1h", "n2", ""},
	} {
		next, ok := successorOf(standingsOf(tc.members, now), now.Add(-time.Hour), tc.preferred)
		if got := memberName(next.id); ok != (tc.want != "") || got != tc.want {
			t.Errorf("%s (%s): %q", tc.what, tc.members, got)
		}
	}
}

func TestPreferredNodeGetsItOnlyWhenAllIsWell(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tc := range []struct {
		what, members string
		well          bool
	}{
		{"all is well", "n1=1h n2=1h n3=1h", true},
		{"also where nobody says since when", "n1=1h n2 n3", true},
		{"it was started just now", "n1=1h n2=1h n3=59s", false},
		{"another was: a rollout is under way", "n1=1h n2=59s n3=1h", false},
		{"this one was", "n1=59s n2=1h n3=1h", false},
		{"it is silent", "n1=1h n2=1h n3!=1h", false},
		{"another is", "n1=1h n2!=1h n3=1h", false},
		{"it is drained", "n1=1h n2=1h n3-=1h", false},
		{"another is", "n1=1h n2-=1h n3=1h", false},
		{"it has no vote", "n1=1h n2=1h n3?=1h", false},
		{"another has none: it comes in", "n1=1h n2?=1s n3=1h", true},
		{"it is behind", "n1=1h n2=1h n3<=1h", false},
		{"it is no member", "n1=1h n2=1h n4=1h", false},
	} {
		all := standingsOf(tc.members, now)
		if got := allWell(all, "n3") && !anyYoung(all, now); got != tc.well {
			t.Errorf("%s (%s): %v", tc.what, tc.members, got)
		}
	}
}

func TestPreferredNodeIsGivenItAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tc := range []struct {
		what             string
		yielded, started time.Time
		due              bool
	}{
		{"it never was", time.Time{}, ago(time.Hour), true},
		{"nor says since when it runs", time.Time{}, time.Time{}, true},
		{"a short time ago, and started since", ago(9 * time.Minute), ago(5 * time.Minute), false},
		{"long ago, and started since", ago(10 * time.Minute), ago(5 * time.Minute), true},
		{"long ago, and it runs all the time", ago(5 * time.Hour), ago(6 * time.Hour), false},
		{"long ago, and it doesn't say", ago(5 * time.Hour), time.Time{}, false},
		{"the day before", ago(6 * time.Hour), ago(7 * time.Hour), true},
	} {
		if got := due(tc.yielded, tc.started, now); got != tc.due {
			t.Errorf("%s: %v", tc.what, got)
		}
	}
}
