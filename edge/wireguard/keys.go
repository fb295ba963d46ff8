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

	told map[[32]byte]told // what introduce said; nil once the device is in use
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
	e.changing.Lock()
	defer e.changing.Unlock()
	are := make([]*serverKey, len(private))
	gone := slices.Clone(*e.keys.Load())
	var added []*serverKey
	var errs []error
	for i := range private {
		if at := slices.IndexFunc(gone, func(k *serverKey) bool { return k.public == publics[i] }); at >= 0 {
			are[i] = gone[at]
			gone = slices.Delete(gone, at, at+1)
			continue
		}
		k, err := e.newServerKey(publics[i], &private[i])
		if err != nil {
			for _, k := range added {
				k.retire()
			}
			return err
		}
		are[i], added = k, append(added, k)
		errs = append(errs, e.introduce(k))
	}
	errs = append(errs, e.use(are, gone))
	return errors.Join(errs...)
}

// introduce tells a new device of the peers. With thousands of them that takes
// seconds, in which peers may be revoked: what changes meanwhile is seen to by use.
func (e *Endpoint) introduce(k *serverKey) error {
	e.control.Lock()
	k.told = make(map[[32]byte]told, len(e.byKey))
	for key, p := range e.byKey {
		k.told[key] = told{p, p.settings}
	}
	e.control.Unlock()
	var errs []error
	for _, t := range k.told {
		errs = append(errs, k.add(t.settings, true))
	}
	return errors.Join(errs...)
}

// told is what a device was told of a peer that may have changed since.
type told struct {
	peer *peer
	settings
}

// catchUp tells the device what has changed since introduce. Endpoint.control is held.
func (k *serverKey) catchUp(peers map[[32]byte]*peer) error {
	var errs []error
	for key := range k.told {
		if peers[key] == nil {
			k.dev.RemovePeer(device.NoisePublicKey(key))
		}
	}
	for key, p := range peers {
		if t := k.told[key]; t.peer != p || t.settings != p.settings {
			errs = append(errs, k.add(p.settings, true))
		}
	}
	clear(k.told)
	k.told = nil
	return errors.Join(errs...)
}

// use makes are the keys; of those that are gone nothing is heard or sent when it
// returns.
func (e *Endpoint) use(are, gone []*serverKey) error {
	e.control.Lock()
	var errs []error
	if e.closed {
		are, gone, errs = nil, append(gone, are...), append(errs, ErrClosed)
	}
	for _, k := range are {
		if k.told == nil {
			continue // in use already
		}
		errs = append(errs, k.catchUp(e.byKey))
		if e.socket != nil {
			errs = append(errs, k.up(e.socket))
		}
	}
	first := len(*e.keys.Load()) == 0
	e.keys.Store(&are)
	if first && e.socket != nil { // Listen had no key to call back with
		e.calls.stop()
		e.calls = newCallBack(are, e.byKey)
	}
	for _, k := range gone {
		_ = k.bind.Close()
		for _, p := range e.byKey {
			p.via.CompareAndSwap(k, nil)
		}
	}
	e.control.Unlock()
	for _, k := range gone {
		k.retire()
	}
	return errors.Join(errs...)
}

// newServerKey makes the device of a key, which is down and has no peers.
// Endpoint.changing is held.
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
