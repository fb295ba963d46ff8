package phoneapi

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// A check says what a use would be, or why there is none, as the use does; the
// ledger and the barrel are as before.
func TestACheckReservesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		check := func(req wire.UseRequest) answer {
			return r.send("POST", wire.PathUseCheck, req, "Authorization", bearer)
		}
		req := usetest.Request("r1", time.Now())
		var would wire.UseCheck
		for range 3 {
			check(req).want(t, 200, &would)
		}
		if r.w.Order(usetest.Order) != nil {
			t.Errorf("the ledger has %v", r.w.Order(usetest.Order))
		}
		granted := r.use("r1")
		if would.Order != granted.Order || would.Barrel != granted.Barrel || would.Count != granted.Count || would.Level != granted.Level ||
			would.SealType != granted.SealType || !would.NotAfter.Equal(granted.NotAfter) || !slices.Equal(would.Methods, granted.Methods) {
			t.Errorf("checked %+v, granted %+v", would, granted)
		}
		// The barrel is in use, also for the request that it is used by.
		check(req).refused(t, wire.CodeBarrelBusy)
		other := req
		other.Order = "WO-NONE"
		check(other).refused(t, wire.CodeBarrelBusy)
		r.w.Fail(command.ErrNoQuorum)
		check(usetest.Request("r2", time.Now())).refused(t, wire.CodeBarrelBusy)
		r.w.Fail(nil)
		time.Sleep(2 * time.Second)
		if d := r.w.Decisions(); len(d) != 3 || d[0].Code != string(wire.CodeBarrelBusy) || !strings.Contains(d[0].Subject, "check of order") {
			t.Errorf("recorded %v", d)
		}
	})
}

// What can't be committed can't be had.
func TestACheckTakesAQuorum(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.w.Fail(command.ErrNoQuorum)
		r.send("POST", wire.PathUseCheck, usetest.Request("r1", time.Now()), "Authorization", bearer).refused(t, wire.CodeNoQuorum)
		r.w.Fail(nil)
		r.send("POST", wire.PathUseCheck, usetest.Request("r1", time.Now()), "Authorization", bearer).want(t, 200, nil)
		r.send("POST", wire.PathUseCheck, usetest.Request("r1", time.Now())).refused(t, wire.CodeTokenInvalid)
	})
}
