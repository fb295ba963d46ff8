package phoneapi

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// How long a request for a use takes is told with its outcome; the seal server's time
// is in it, and no other request is told of.
func TestUsedTellsTheTime(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		verify := r.seal.verify
		r.seal.verify = func(token string, req wire.VerifyRequest) (wire.VerifyAnswer, error) {
			time.Sleep(3 * time.Second)
			if token == "stolen" {
				return wire.VerifyAnswer{}, wire.NewProblem(wire.CodeTokenInvalid, "")
			}
			return verify(token, req)
		}
		r.send("POST", wire.PathUses, usetest.Request("r1", time.Now()), "Authorization", "Bearer stolen").refused(t, wire.CodeTokenInvalid)
		r.send("GET", wire.PathStatus, nil).want(t, 200, nil)
		r.use("r2")
		synctest.Wait()
		r.usedMu.Lock()
		defer r.usedMu.Unlock()
		if want := []string{string(wire.CodeTokenInvalid) + " 3s", "granted 3s"}; !slices.Equal(r.used, want) {
			t.Errorf("got %q, want %q", r.used, want)
		}
	})
}

// heard keeps what Config.Used is told.
func (r *rig) heard(outcome string, took time.Duration) {
	r.usedMu.Lock()
	defer r.usedMu.Unlock()
	r.used = append(r.used, fmt.Sprint(outcome, " ", took))
}
