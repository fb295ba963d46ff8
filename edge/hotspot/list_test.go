package hotspot

import (
	"reflect"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// The list holds just whom Judge would let join.
func TestListAgreesWithJudge(t *testing.T) {
	camera, _ := ident.ParseMAC("02:00:5e:20:00:01")
	rules := usetest.Rules()
	rules.Hotspot = []policy.HotspotDevice{{MAC: camera, Role: "camera"}}
	w := usetest.New(t, func() time.Time { return start })
	w.Do(&command.PutBarrel{Barrel: &command.Barrel{
		Id: "SB-0004", Mac: "02:00:5e:10:00:04", PskIdentity: "SB-0004", Psk: []byte("4"), SealType: "company",
		ReceiptPublicKey: usetest.Key("SB-0004")[32:], State: command.DeviceState_ACTIVE,
	}})
	w.Do(&command.CheckOut{Barrel: "SB-0004", Imsi: usetest.Terminal})
	g := &Guard{Records: w, Rules: func() *policy.Rules { return rules }}
	list := func() grant.AllowList {
		t.Helper()
		l, err := g.List(usetest.Terminal, start.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := grant.SignAllowList(l, usetest.Key("")); err != nil {
			t.Errorf("it can't be signed: %v", err)
		}
		for _, mac := range []string{
			usetest.MAC(usetest.Barrel), usetest.MAC(usetest.OtherBarrel), usetest.MAC(usetest.Spare), "02:00:5e:10:00:04", camera.String(), "02:00:5e:99:99:99",
		} {
			m, err := ident.ParseMAC(mac)
			if err != nil {
				t.Fatal(err)
			}
			if may, listed := g.Judge(usetest.Terminal, m) == nil, l.Allows(octets(m), l.Issued); may != listed {
				t.Errorf("%s: may join %v, is on the list %v", mac, may, listed)
			}
		}
		return l
	}
	want := []grant.Device{
		{MAC: [6]byte{2, 0, 0x5e, 0x10, 0, 1}, Role: "barrel", Barrel: usetest.Barrel},
		{MAC: [6]byte{2, 0, 0x5e, 0x10, 0, 4}, Role: "barrel", Barrel: "SB-0004"},
		{MAC: [6]byte{2, 0, 0x5e, 0x20, 0, 1}, Role: "camera"},
	}
	first := list()
	if !reflect.DeepEqual(first.Devices, want) {
		t.Errorf("devices are %+v, want %+v", first.Devices, want)
	}
	if !first.Expires.Equal(start.Add(15*time.Minute)) || !first.Issued.Equal(start.Add(time.Minute)) {
		t.Errorf("valid from %v to %v", first.Issued, first.Expires)
	}
	w.Do(&command.RevokeBarrel{Id: "SB-0004", Reason: "stolen"})
	next := list()
	if next.Version <= first.Version || len(next.Devices) != 2 {
		t.Errorf("after a revocation: version %d after %d, %+v", next.Version, first.Version, next.Devices)
	}
}

func TestNoListForNobody(t *testing.T) {
	w := usetest.New(t, func() time.Time { return start })
	g := &Guard{Records: w, Rules: usetest.Rules}
	if _, err := g.List("460019999999999", start); sealuse.FromError(err).Code != wire.CodeTerminalUnknown {
		t.Errorf("got %v, want %s", err, wire.CodeTerminalUnknown)
	}
	g.Rules = func() *policy.Rules { return nil }
	if _, err := g.List(usetest.Terminal, start); sealuse.FromError(err).Code != wire.CodeNoPolicy {
		t.Errorf("got %v, want %s", err, wire.CodeNoPolicy)
	}
	rules := usetest.Rules()
	for i := range grant.MaxDevices + 1 {
		mac, err := ident.ParseMAC((&macs{i}).String())
		if err != nil {
			t.Fatal(err)
		}
		rules.Hotspot = append(rules.Hotspot, policy.HotspotDevice{MAC: mac, Role: "camera"})
	}
	g.Rules = func() *policy.Rules { return rules }
	if l, err := g.List(usetest.Terminal, start); err == nil {
		t.Errorf("a list of %d devices was made", len(l.Devices))
	}
}
