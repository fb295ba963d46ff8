package grant

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

func allowList() AllowList {
	return AllowList{
		IMSI: "460010000000001", Version: 812, Revision: 3,
		Issued: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), Expires: time.Date(2026, 11, 22, 8, 15, 0, 0, time.UTC),
		Devices: []Device{
			{[6]byte{2, 0, 0x5e, 0x10, 0, 1}, "barrel", "SB-0001"},
			{[6]byte{2, 0, 0x5e, 0x10, 0, 2}, "phone", ""},
		},
	}
}

func TestAllows(t *testing.T) {
	l := allowList()
	before := l.Expires.Add(-time.Second)
	for _, c := range []struct {
		mac  [6]byte
		now  time.Time
		want bool
	}{
		{[6]byte{2, 0, 0x5e, 0x10, 0, 1}, before, true},
		{[6]byte{2, 0, 0x5e, 0x10, 0, 2}, before, true},
		{[6]byte{2, 0, 0x5e, 0x10, 0, 3}, before, false},
		{[6]byte{}, before, false},
		{[6]byte{2, 0, 0x5e, 0x10, 0, 1}, l.Expires, false},
	} {
		if got := l.Allows(c.mac, c.now); got != c.want {
			t.Errorf("%x at %v: %v, want %v", c.mac, c.now, got, c.want)
		}
	}
}

func TestAllowListOfNonsense(t *testing.T) {
	for name, spoil := range map[string]func(*AllowList){
		"no terminal":                func(l *AllowList) { l.IMSI = "" },
		"no version":                 func(l *AllowList) { l.Version = 0 },
		"issued before 1970":         func(l *AllowList) { l.Issued = time.Unix(-1, 0) },
		"expired when issued":        func(l *AllowList) { l.Expires = l.Issued },
		"a device twice":             func(l *AllowList) { l.Devices[1].MAC = l.Devices[0].MAC },
		"out of order":               func(l *AllowList) { l.Devices[0], l.Devices[1] = l.Devices[1], l.Devices[0] },
		"no role":                    func(l *AllowList) { l.Devices[0].Role = "" },
		"a barrel in small":          func(l *AllowList) { l.Devices[0].Barrel = "sb-0001" },
		"more than there's room for": func(l *AllowList) { l.Devices = many(MaxDevices + 1) },
	} {
		l := allowList()
		spoil(&l)
		if _, err := SignAllowList(l, gateway); !errors.Is(err, ErrContent) {
			t.Errorf("%s: signed with %v, want ErrContent", name, err)
		}
		raw, err := sign(kindAllowList, l.wire(), gateway)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyAllowList(raw, public(gateway)); !errors.Is(err, ErrContent) {
			t.Errorf("%s: verified with %v, want ErrContent", name, err)
		}
	}
}

func many(n int) (all []Device) {
	for i := range n {
		all = append(all, Device{[6]byte{2, 0, 0x5e, 0, byte(i >> 8), byte(i)}, string(bytes.Repeat([]byte("r"), 64)), "SB-0001"})
	}
	return all
}

// The longest list that there can be fits.
func TestAllowListAtItsBounds(t *testing.T) {
	l := allowList()
	l.Devices = many(MaxDevices)
	raw, err := SignAllowList(l, gateway)
	if err != nil {
		t.Fatal(err)
	}
	got, err := VerifyAllowList(raw, public(gateway))
	if err != nil || len(got.Devices) != MaxDevices {
		t.Errorf("%d bytes verify to %d devices, %v", len(raw), len(got.Devices), err)
	}
	l.Devices = nil
	if raw, err = SignAllowList(l, gateway); err != nil {
		t.Fatal(err)
	}
	if got, err := VerifyAllowList(raw, public(gateway)); err != nil || len(got.Devices) != 0 {
		t.Errorf("the empty list: %+v, %v", got, err)
	}
}

// Past the signature, a list from anywhere has one encoding.
func FuzzAllowList(f *testing.F) {
	b, err := encoding.Marshal(allowList().wire())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xa6, 1, 0x61, '4', 2, 1, 3, 0, 4, 0, 5, 1, 6, 0xf6}) // null for the devices
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw, err := sign(kindAllowList, cbor.RawMessage(payload), gateway)
		if err != nil {
			return
		}
		l, err := VerifyAllowList(raw, public(gateway))
		if err != nil {
			return
		}
		if again, err := SignAllowList(l, gateway); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("payload %x is accepted as %+v, which signs to %x, %v", payload, l, again, err)
		}
	})
}
