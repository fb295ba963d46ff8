package drill

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// steady are probes every 2 ms of two sessions in turn, answered after 1 ms
// unless they were sent in a time of silence.
func steady(until time.Duration, silent func(sent time.Duration, session int) bool) []probe {
	var all []probe
	for at, n := time.Duration(0), 0; at < until; at, n = at+2*ms, n+1 {
		p := probe{session: n % 2, sent: at}
		if !silent(at, p.session) {
			p.answered = at + ms
		}
		all = append(all, p)
	}
	return all
}

func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		name   string
		silent func(time.Duration, int) bool
		fault  time.Duration
		want   Gap
	}{
		{
			"a kill: silence from the fault on",
			func(at time.Duration, _ int) bool { return at >= 100*ms && at < 500*ms },
			100 * ms,
			Gap{Silence: 402 * ms, Recovered: 401 * ms, All: 403 * ms, Sent: 425, Lost: 200},
		},
		{
			"a hung disk: the holder goes on for a while",
			func(at time.Duration, _ int) bool { return at >= 300*ms && at < 500*ms },
			100 * ms,
			Gap{Silence: 202 * ms, Recovered: 401 * ms, All: 403 * ms, Sent: 425, Lost: 100},
		},
		{
			"one session comes back later",
			func(at time.Duration, session int) bool {
				return at >= 100*ms && at < 500*ms || session == 1 && at >= 500*ms && at < 700*ms
			},
			100 * ms,
			Gap{Silence: 402 * ms, Recovered: 401 * ms, All: 603 * ms, Sent: 425, Lost: 250},
		},
		{
			"nothing",
			func(time.Duration, int) bool { return false },
			100 * ms,
			Gap{Silence: 2 * ms, Recovered: ms, All: 3 * ms, Sent: 425},
		},
		{
			"never again",
			func(at time.Duration, _ int) bool { return at >= 100*ms },
			100 * ms,
			Gap{Silence: 901 * ms, Recovered: 900 * ms, All: 900 * ms, Sent: 425, Lost: 425},
		},
		{
			"a silence before the fault is another matter",
			func(at time.Duration, _ int) bool { return at < 90*ms || at >= 200*ms && at < 220*ms },
			100 * ms,
			Gap{Silence: 22 * ms, Recovered: 121 * ms, All: 123 * ms, Sent: 425, Lost: 10},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := measure(steady(1000*ms, c.silent), 2, c.fault, 1000*ms); got != c.want {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// An answer by a node that was stopped when it was asked is seen.
func TestLateAnswers(t *testing.T) {
	probes := []probe{{0, 10 * ms, 11 * ms}, {0, 20 * ms, 900 * ms}, {0, 910 * ms, 911 * ms}}
	if g := measure(probes, 1, 15*ms, 1000*ms); g.Late != 1 || g.Lost != 0 || g.Recovered != 885*ms {
		t.Errorf("%+v", g)
	}
}

func TestQuantile(t *testing.T) {
	all := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.9: 5, 0.99: 5, 1: 5} {
		if got := Quantile(all, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if Quantile(nil, 0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
