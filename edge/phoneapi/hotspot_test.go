package phoneapi

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// The list is signed, of the terminal that asks, and answered again only when
// something has changed or it is about to expire.
func TestAllowList(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var first wire.AllowList
		a := r.send("GET", wire.PathAllowList, nil).want(t, 200, &first)
		l, err := grant.VerifyAllowList(first.List, usetest.Key("").Public().(ed25519.PublicKey))
		if err != nil || l.IMSI != usetest.Terminal || l.Version != first.Version || !l.Expires.Equal(first.Expires) {
			t.Fatalf("%+v, %v in %+v", l, err, first)
		}
		if !l.Allows([6]byte{2, 0, 0x5e, 0x10, 0, 1}, time.Now()) {
			t.Errorf("the barrel is not on the list %+v", l)
		}
		tag := a.header.Get("ETag")
		for _, h := range []string{tag, `"other", ` + tag} {
			if b := r.send("GET", wire.PathAllowList, nil, "If-None-Match", h).want(t, 304, nil); len(b.body) > 0 || b.header.Get("ETag") != tag {
				t.Errorf("%s: 304 with %q and tag %s", h, b.body, b.header.Get("ETag"))
			}
		}
		r.send("GET", wire.PathAllowList, nil, "If-None-Match", `W/"other"`).want(t, 200, nil)
		var other wire.AllowList
		if b := r.sendFrom(usetest.Address(usetest.Other), "GET", wire.PathAllowList, nil, "If-None-Match", tag).want(t, 200, &other); b.header.Get("ETag") == tag {
			t.Error("two terminals' lists have one tag")
		}
		time.Sleep(2 * time.Minute) // the bubble's: it expires later
		r.send("GET", wire.PathAllowList, nil, "If-None-Match", tag).want(t, 200, nil)
	})
}

// A list lets devices join for minutes, so it takes a quorum.
func TestAllowListTakesAQuorum(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.w.Fail(command.ErrNoQuorum)
		r.send("GET", wire.PathAllowList, nil).refused(t, wire.CodeNoQuorum)
	})
}
