package wireguard

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/device"
)

// serverKey is one of the gateway's keys. It has a device of its own: a device knows
// one key, and forgets its sessions when that changes.
type serverKey struct {
	public [32]byte
	dev    *device.Device
	bind   *bind
	tun    *tunnel
}

// maxKeys is how many keys there may be at once: one, and the one that it replaces.
const maxKeys = 2

// SetKeys makes private the gateway's Curve25519 keys, newest first: one, or two while
// one replaces another; none is allowed, and then nobody is answered. Sessions of a key
// that stays go on; those of one that goes end at once. The caller zeroes its copies.
func (e *Endpoint) SetKeys(private ...[32]byte) error {
	if len(private) > maxKeys {
		return fmt.Errorf("wireguard: %d keys: want at most %d", len(private), maxKeys)
	}
	e.control.Lock()
	defer e.control.Unlock()
	if e.closed {
		return ErrClosed
	}
	publics := make([][32]byte, len(private))
	for i := range private {
		curve25519.ScalarBaseMult(&publics[i], &private[i])
		switch {
		case private[i] == [32]byte{}:
			return errors.New("wireguard: private key: want 32 bytes that aren't all zero")
		case slices.Contains(publics[:i], publics[i]):
			return errors.New("wireguard: the two private keys are the same")
		}
	}
	were := *e.keys.Load()
	are := make([]*serverKey, len(private))
	var added []*serverKey
	var errs []error
	for i, public := range publics {
		if at := slices.IndexFunc(were, func(k *serverKey) bool { return k.public == public }); at >= 0 {
			are[i] = were[at]
			continue
		}
		k, err := e.newServerKey(public, &private[i])
		if err != nil {
			for _, k := range added {
				k.retire()
			}
			return err
		}
		for _, p := range e.byKey {
			errs = append(errs, k.add(p, true))
		}
		are[i], added = k, append(added, k)
	}
	if e.socket != nil {
		for _, k := range added {
			errs = append(errs, k.up(e.socket))
		}
	}
	e.keys.Store(&are)
	for _, k := range were {
		if slices.Contains(are, k) {
			continue
		}
		for _, p := range e.byKey {
			p.via.CompareAndSwap(k, nil)
		}
		k.retire()
	}
	return errors.Join(errs...)
}

// newServerKey makes the device of a key, which is down and has no peers. e.control is
// held.
func (e *Endpoint) newServerKey(public [32]byte, private *[32]byte) (*serverKey, error) {
	k := &serverKey{public: public}
	e.devices++
	k.bind = &bind{
		count: &e.count, holds: e.cfg.Holds, mac1: newMAC1Key(public), room: roomFor(e.cfg.MTU),
		id: e.devices, own: &e.owners,
	}
	k.tun = newTunnel(e.cfg.MTU, func(bufs [][]byte, offset int) { e.uplink(k, bufs, offset) })
	k.dev = device.NewDevice(k.tun, k.bind, &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf: func(format string, args ...any) {
			e.count.add(deviceErrors, 1)
			e.warn("wireguard: " + fmt.Sprintf(format, nameless(args)...))
		},
	})
	key := device.NoisePrivateKey(*private)
	defer clear(key[:])
	key[0] &= 248 // as Curve25519 reads it (RFC 7748 5), which the device expects
	key[31] = key[31]&127 | 64
	if err := k.dev.SetPrivateKey(key); err != nil {
		k.retire()
		return nil, fmt.Errorf("wireguard: set private key: %w", err)
	}
	return k, nil
}

// up has the device serve a socket.
func (k *serverKey) up(s *socket) error {
	k.bind.prepare(s)
	return k.dev.Up()
}

// retire ends the device. Of its key nothing is left, as far as the library goes: the
// key itself is overwritten, and so is what was computed from it for each peer.
func (k *serverKey) retire() {
	_ = k.dev.Down() // nothing comes and goes any more
	_ = k.dev.SetPrivateKey(device.NoisePrivateKey{})
	k.dev.Close()
}
