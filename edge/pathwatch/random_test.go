package pathwatch

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// detection bounds how long a path may be dead, or another one live, until the watcher
// knows: 15 s between probes of an idle path, 3 s of losses, 5 s between probes of a dead
// path or handshakes, 15 s between tries to connect, and what answers take.
const detection = 25 * time.Second

// Whatever the networks do: the watcher isn't on a dead path when another has lived for
// longer than detection; selects only what answered; doesn't flap; and sends no more than
// a probe a second over each path.
func TestRandomNetworks(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 7))
		r := newRig(t, Config{KeepStandby: random.IntN(4) == 0})
		var selected time.Time
		switches, outages := 0, 0
		since := [3]time.Time{noon, noon, noon} // since when each net is as it is
		r.check = func(a Action) {
			s, ok := a.(Select)
			if !ok {
				return
			}
			switches++
			if !selected.IsZero() && r.now.Sub(selected) < 3*time.Second {
				t.Fatalf("seed %d: selected twice within %v", seed, r.now.Sub(selected))
			}
			selected = r.now
			if n := r.nets[s.Path]; n.dead && r.now.Sub(since[s.Path]) > 3*time.Second {
				t.Fatalf("seed %d: at %v %v was selected, dead since %v", seed, r.now.Sub(noon), s.Path, since[s.Path].Sub(noon))
			}
		}
		r.nets[Fallback].shy = random.IntN(2) == 0
		r.tell(LinkUp{Carrier}, LinkUp{Fallback})
		using, length := false, []time.Duration{time.Second, 8 * time.Second, 2 * time.Minute}[random.IntN(3)]
		const hours = 2
		for r.now.Sub(noon) < hours*time.Hour {
			switch p := []Path{Carrier, Carrier, Fallback}[random.IntN(3)]; random.IntN(6) {
			case 0:
				if using = !using; using {
					r.tell(UseBegan{})
				} else {
					r.tell(UseEnded{})
				}
			case 1:
				r.tell(Traffic{})
			case 2:
				if r.nets[Fallback].deaf = true; r.now.Sub(since[Fallback]) > 0 {
					since[Fallback] = r.now
				}
				outages++
			default:
				r.nets[p].dead, since[p] = !r.nets[p].dead, r.now
				r.nets[p].late = time.Duration(10+random.IntN(400)) * time.Millisecond
				outages++
			}
			r.until(r.now.Sub(noon) + time.Duration(random.ExpFloat64()*float64(length)))
			on := r.w.Path()
			for _, other := range []Path{Carrier, Fallback} {
				settled := min(r.now.Sub(since[Carrier]), r.now.Sub(since[Fallback])) > detection
				if on != other && settled && !r.nets[other].dead && (on == NoPath || r.nets[on].dead) {
					t.Fatalf("seed %d: at %v on %v, %v has lived for %v:\n%s", seed, r.now.Sub(noon), on, other, r.now.Sub(since[other]), tail(r.done()))
				}
			}
		}
		// Returns are held, at least 10 s each, and longer after flaps.
		if most := min(outages, hours*3600/5) + 4; switches > most {
			t.Errorf("seed %d: %d selections for %d outages", seed, switches, outages)
		}
		for p, n := range r.sent {
			if n > hours*3600+3*outages {
				t.Errorf("seed %d: %d probes over %v in %d s", seed, n, Path(p), hours*3600)
			}
		}
	}
}

func tail(log []string) string { return strings.Join(log[max(0, len(log)-12):], "\n") }

// A carrier that comes and goes every few seconds for hours costs few switches.
func TestFlappingCarrierCostsFewSwitches(t *testing.T) {
	for _, period := range []time.Duration{4 * time.Second, 15 * time.Second, time.Minute} {
		r := onCarrier(t, Config{})
		for r.now.Sub(noon) < 4*time.Hour {
			r.nets[Carrier].dead = !r.nets[Carrier].dead
			r.until(r.now.Sub(noon) + period)
		}
		n := 0
		for _, a := range r.done() {
			if contains(a, "Select") {
				n++
			}
		}
		if n > 100 {
			t.Errorf("flapping every %v: %d selections in four hours", period, n)
		}
	}
}
