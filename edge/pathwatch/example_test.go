package pathwatch_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/pathwatch"
)

// A terminal gets coverage, begins to use a seal, and drives into a tunnel.
func Example() {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	now := noon
	w := pathwatch.New(pathwatch.Config{}, now)
	var probe pathwatch.SendProbe // the last
	tell := func(e pathwatch.Event) {
		for _, a := range w.Handle(now, e) {
			fmt.Printf("%v %s\n", now.Sub(noon), strings.TrimPrefix(fmt.Sprintf("%T%v", a, a), "pathwatch."))
			if p, ok := a.(pathwatch.SendProbe); ok {
				probe = p
			}
		}
	}
	answer := func() {
		tell(pathwatch.ProbeAnswered{Path: probe.Path, Nonce: probe.Nonce, Active: probe.Path == w.Path(), Admitted: true})
	}

	tell(pathwatch.LinkUp{Path: pathwatch.Carrier})
	tell(pathwatch.LinkUp{Path: pathwatch.Fallback})
	tell(pathwatch.Connected{Path: pathwatch.Carrier})
	answer()
	tell(pathwatch.Leased{RenewAfter: noon.Add(8 * time.Hour), Expires: noon.Add(12 * time.Hour)})

	now = noon.Add(10 * time.Second)
	tell(pathwatch.UseBegan{})
	tell(pathwatch.Connected{Path: pathwatch.Fallback})
	answer()

	// Nothing comes through the carrier any more.
	for w.Path() == pathwatch.Carrier {
		now = w.Next()
		tell(pathwatch.Tick{})
		if probe.Path == pathwatch.Fallback {
			answer()
		}
	}
	// Output:
	// 0s Connect{carrier}
	// 0s SendProbe{carrier 1}
	// 0s Select{carrier}
	// 0s Announce{carrier}
	// 0s RequestConnection{carrier}
	// 10s Connect{fallback}
	// 10s SendProbe{carrier 2}
	// 10s SendProbe{fallback 3}
	// 11s SendProbe{carrier 4}
	// 11s SendProbe{fallback 5}
	// 12s SendProbe{carrier 6}
	// 12s SendProbe{fallback 7}
	// 13s Select{fallback}
	// 13s Announce{fallback}
	// 13s SendProbe{fallback 8}
}
