package grant

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

const kindAllowList kind = "sealedge/hotspot-list/1"

// Bounds of an AllowList.
const (
	MaxDevices  = 512
	MaxListSize = 64 << 10 // of the signed message, in bytes
)

// AllowList is the gateway's word on which devices may be on one terminal's
// hotspot, for an app that judges who joins by itself.
type AllowList struct {
	IMSI string // whose hotspot it is
	// Version never goes back: an app that has seen a higher one refuses the list.
	Version  uint64
	Revision uint64    // of the policy that decided
	Issued   time.Time // whole seconds
	Expires  time.Time // whole seconds; nobody may join by the list after it
	Devices  []Device  // by MAC, none twice
}

// Device is one that may join.
type Device struct {
	MAC    [6]byte
	Role   string // "barrel", or as the policy names it
	Barrel string // its serial number; empty: it is no barrel
}

type allowListWire struct {
	IMSI     string       `cbor:"1,keyasint"`
	Version  uint64       `cbor:"2,keyasint"`
	Revision uint64       `cbor:"3,keyasint"`
	Issued   int64        `cbor:"4,keyasint"`
	Expires  int64        `cbor:"5,keyasint"`
	Devices  []deviceWire `cbor:"6,keyasint"`
}

type deviceWire struct {
	MAC    []byte `cbor:"1,keyasint"`
	Role   string `cbor:"2,keyasint"`
	Barrel string `cbor:"3,keyasint,omitempty"`
}

// SignAllowList makes a signed list.
func SignAllowList(l AllowList, key ed25519.PrivateKey) ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	return sign(kindAllowList, l.wire(), key)
}

// VerifyAllowList checks a list. Whether it is of the right terminal, has expired
// or is older than another is for the caller to check.
func VerifyAllowList(raw []byte, key ed25519.PublicKey) (AllowList, error) {
	var w allowListWire
	if err := verify(kindAllowList, raw, key, &w); err != nil {
		return AllowList{}, err
	}
	l, err := w.list()
	if err != nil {
		return AllowList{}, err
	}
	return l, l.check()
}

func (l AllowList) wire() *allowListWire {
	w := &allowListWire{l.IMSI, l.Version, l.Revision, l.Issued.Unix(), l.Expires.Unix(), make([]deviceWire, 0, len(l.Devices))}
	for _, d := range l.Devices {
		w.Devices = append(w.Devices, deviceWire{d.MAC[:], d.Role, d.Barrel})
	}
	return w
}

func (w *allowListWire) list() (AllowList, error) {
	l := AllowList{IMSI: w.IMSI, Version: w.Version, Revision: w.Revision, Issued: seconds(w.Issued), Expires: seconds(w.Expires)}
	if w.Devices == nil { // null, which an empty list is not
		return AllowList{}, fmt.Errorf("%w: no list of devices", ErrContent)
	}
	for _, d := range w.Devices {
		if len(d.MAC) != 6 {
			return AllowList{}, fmt.Errorf("%w: a MAC of %d bytes", ErrContent, len(d.MAC))
		}
		l.Devices = append(l.Devices, Device{[6]byte(d.MAC), d.Role, d.Barrel})
	}
	return l, nil
}

func (l AllowList) check() error {
	if i, err := ident.ParseIMSI(l.IMSI); err != nil || i.String() != l.IMSI {
		return fmt.Errorf("%w: terminal %q", ErrContent, l.IMSI)
	}
	switch {
	case l.Version == 0:
		return fmt.Errorf("%w: no version", ErrContent)
	case l.Issued.Unix() < 0 || !l.Expires.After(l.Issued):
		return fmt.Errorf("%w: valid from %v to %v", ErrContent, l.Issued, l.Expires)
	case len(l.Devices) > MaxDevices:
		return fmt.Errorf("%w: %d devices, at most %d", ErrContent, len(l.Devices), MaxDevices)
	}
	for i, d := range l.Devices {
		if i > 0 && bytes.Compare(l.Devices[i-1].MAC[:], d.MAC[:]) >= 0 {
			return fmt.Errorf("%w: devices aren't in the order of their MACs", ErrContent)
		}
		if d.Role == "" || len(d.Role) > 64 {
			return fmt.Errorf("%w: role %q", ErrContent, d.Role)
		}
		if d.Barrel == "" {
			continue
		}
		if b, err := ident.ParseBarrelID(d.Barrel); err != nil || b.String() != d.Barrel {
			return fmt.Errorf("%w: barrel %q", ErrContent, d.Barrel)
		}
	}
	return nil
}

// Allows tells whether the list lets a device join, at a time.
func (l AllowList) Allows(mac [6]byte, now time.Time) bool {
	if !now.Before(l.Expires) {
		return false
	}
	_, found := slices.BinarySearchFunc(l.Devices, mac, func(d Device, mac [6]byte) int { return bytes.Compare(d.MAC[:], mac[:]) })
	return found
}
