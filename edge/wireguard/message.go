package wireguard

import (
	"crypto/subtle"
	"encoding/binary"
	"math"
	"net/netip"
	"sync/atomic"

	"golang.org/x/crypto/blake2s"
	"golang.zx2c4.com/wireguard/device"
)

// mac1Key is what the first MAC of a handshake message is made with, by the public
// key of who it is for.
type mac1Key [blake2s.Size]byte

func newMAC1Key(public [32]byte) mac1Key {
	return blake2s.Sum256(append([]byte(device.WGLabelMAC1), public[:]...))
}

// verifies tells whether d, which says of itself to be of a handshake, has the length
// of one and its first MAC was made for this key.
func (k *mac1Key) verifies(d []byte) bool {
	switch {
	case d[0] == device.MessageInitiationType && len(d) == device.MessageInitiationSize:
	case d[0] == device.MessageResponseType && len(d) == device.MessageResponseSize:
	default:
		return false
	}
	mac2 := len(d) - blake2s.Size128
	mac1 := mac2 - blake2s.Size128
	h, err := blake2s.New128(k[:])
	if err != nil {
		return false // never: the key has the right length
	}
	h.Write(d[:mac1])
	var sum [blake2s.Size128]byte
	return subtle.ConstantTimeCompare(h.Sum(sum[:0]), d[mac1:mac2]) == 1
}

// owners tells which of two devices has the session with an index, as far as it was
// seen when the session was made: so a datagram is copied to one of them only. What is
// not known both of them look up.
type owners struct{ table [1 << 13]atomic.Uint64 } // index<<32 | owner

// shared is the owner of an index that more than one device has given out.
const shared = math.MaxUint32

func (o *owners) at(index uint32) *atomic.Uint64 { return &o.table[index%uint32(len(o.table))] }

// note remembers the index that a message of a handshake gives out, d, of the device
// with a number.
func (o *owners) note(owner uint32, d []byte) {
	index := binary.LittleEndian.Uint32(d[4:])
	entry := o.at(index)
	if was := entry.Load(); uint32(was>>32) == index && was != 0 && uint32(was) != owner {
		owner = shared
	}
	entry.Store(uint64(index)<<32 | uint64(owner))
}

// another tells whether the index that d names its receiver by is known, and not the
// owner's.
func (o *owners) another(owner uint32, d []byte) bool {
	index := binary.LittleEndian.Uint32(d[4:])
	is := o.at(index).Load()
	return is != 0 && uint32(is>>32) == index && uint32(is) != owner && uint32(is) != shared
}

// The device decrypts a datagram where it lies and tells nobody where it came from.
// So its sender is stamped behind it in the same buffer, out of reach of any datagram.
const (
	stampSize = 19 // address, port, family

	// Where the stamp stands. Near by, unless the MTU needs the room: that is the
	// same page of memory as the datagram.
	nearRoom = 2048
	farRoom  = device.MaxMessageSize - stampSize
)

// overhead is what WireGuard puts around a packet, padding included, in bytes.
const overhead = device.MessageTransportSize + device.PaddingMultiple

func roomFor(mtu int) int {
	if mtu+overhead <= nearRoom {
		return nearRoom
	}
	return farRoom
}

func stamp(b []byte, from netip.AddrPort) {
	a := from.Addr().As16()
	copy(b, a[:])
	binary.BigEndian.PutUint16(b[16:], from.Port())
	b[18] = 6
	if from.Addr().Is4() {
		b[18] = 4
	}
}

// stamped reads the stamp behind a packet that the device has decrypted.
func stamped(buf []byte, room int) netip.AddrPort {
	if cap(buf) < room+stampSize {
		return netip.AddrPort{}
	}
	b := buf[:room+stampSize][room:]
	a := netip.AddrFrom16([16]byte(b))
	switch b[18] {
	case 4:
		a = a.Unmap()
	case 6:
	default:
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[16:]))
}
