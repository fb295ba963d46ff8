package drill

import (
	"math"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
)

type sessionRecord = adminapi.Session

// Round is what one run of a drill showed. Times are in milliseconds.
type Round struct {
	At     time.Time `json:"at"`
	Holder string    `json:"holder"`         // of the gateway address before
	Next   string    `json:"next,omitempty"` // and after

	// Of the canary: see Gap.
	Silence   float64 `json:"silence_ms"`
	Recovered float64 `json:"recovered_ms"`
	All       float64 `json:"all_sessions_ms"`
	Sent      int     `json:"probes"`
	Lost      int     `json:"probes_lost"`
	Late      int     `json:"answers_late"`
	// Signalling is from the fault to the first attach or detach that was
	// acknowledged after the silence; 0: none was tried.
	Signalling float64 `json:"signalling_ms,omitempty"`

	// SealUse is from the fault until a phone and its barrel could use a seal again:
	// the barrel connects anew. 0: it wasn't asked in this round.
	SealUse float64 `json:"seal_use_ms,omitempty"`

	// Mended is how long it took until the cluster was whole again once the fault
	// was undone, and UndoSilence the longest silence meanwhile.
	Mended      float64 `json:"mended_ms"`
	UndoSilence float64 `json:"undo_silence_ms"`

	Sessions     int      `json:"sessions"` // of the canary
	LostSessions []string `json:"sessions_lost,omitempty"`
	Acknowledged int      `json:"writes_acknowledged"` // attaches and detaches meanwhile
	LostWrites   []string `json:"writes_lost,omitempty"`
	// Refused are attaches and detaches that the gateway refused meanwhile, which it
	// may when it can't decide. The peer tries again.
	Refused []string `json:"refused,omitempty"`
	Notice  Notice   `json:"peer_noticed"`
	// Faults is what else went wrong.
	Faults []string `json:"faults,omitempty"`

	recovered time.Duration
	timeline  []Point
	undone    bool
}

// Point is a probe of a round, or several of one moment.
type Point struct {
	At   float64 `json:"at_ms"`  // when it was sent, after the fault
	RTT  float64 `json:"rtt_ms"` // of the slowest; 0: none was answered
	Lost int     `json:"lost,omitempty"`
}

func (r *Round) note(g Gap) {
	r.recovered = g.Recovered
	r.Silence, r.Recovered, r.All = millis(g.Silence), millis(g.Recovered), millis(g.All)
	r.Sent, r.Lost, r.Late = g.Sent, g.Lost, g.Late
}

func (r *Round) fail(err error) { r.Faults = append(r.Faults, err.Error()) }

// Passed tells whether peers noticed nothing but silence, and nothing was lost.
func (r *Round) Passed() bool {
	return len(r.Faults) == 0 && len(r.LostSessions) == 0 && len(r.LostWrites) == 0 && !r.Notice.Any()
}

// address is the inner address of a session.
func (c *Canary) address(i int) netip.Addr { return c.bearers[i].Address() }

// step of a timeline.
const step = 10 * time.Millisecond

// timeline draws probes together, by when they were sent.
func timeline(probes []probe, fault, end time.Duration) []Point {
	var all []Point
	bucket := math.MinInt
	for _, p := range probes {
		if p.sent < fault-200*time.Millisecond {
			continue
		}
		b := int(math.Floor(float64(p.sent-fault) / float64(step)))
		if b != bucket {
			bucket = b
			all = append(all, Point{At: millis(time.Duration(b) * step)})
		}
		last := &all[len(all)-1]
		if p.answered == 0 || p.answered > end {
			last.Lost++
		} else {
			last.RTT = max(last.RTT, millis(p.answered-p.sent))
		}
	}
	return all
}

// millis are milliseconds with a digit after the point.
func millis(d time.Duration) float64 { return math.Round(float64(d)/float64(time.Millisecond)*10) / 10 }
