package wireguard

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// Peer is a terminal on the allow-list.
type Peer struct {
	PublicKey [32]byte
	Address   netip.Addr // its inner address, IPv4
	// PresharedKey is mixed into handshakes; zero: none. Another one counts from the
	// next handshake on, within two minutes; a live session goes on until then, so
	// that whoever renews his has no gap.
	PresharedKey [32]byte
	// Endpoint is where the peer was last, outside; the zero value: unknown. What the
	// endpoint has learned from the peer itself counts more.
	Endpoint netip.AddrPort
	// Active: this path carries the session's downlink. While it doesn't, data
	// from the peer is reported, except in the first Silence after it stopped
	// doing so: packets still in flight then prove nothing.
	Active bool
}

// settings are what a device is told of a peer.
type settings struct {
	key   [32]byte
	addr  netip.Addr
	psk   [32]byte
	outer netip.AddrPort // Peer.Endpoint
}

// peer is what the endpoint knows of a terminal. Key and address never change; the
// other settings are guarded by Endpoint.control.
type peer struct {
	settings

	active atomic.Bool
	via    atomic.Pointer[serverKey] // by which it was last heard; nil: unknown
	// Times on the endpoint's clock, 0 for never.
	lastData   atomic.Int64
	lastHeard  atomic.Int64
	lastReport atomic.Int64
	reported   atomic.Pointer[netip.AddrPort] // where from; nil: never
}

// SetPeers makes peers the whole allow-list. Only what differs from the last
// call is touched: the others keep their sessions. A peer that is gone is silent
// when SetPeers returns: nothing comes up from it, and nothing goes to it. A peer that
// can't be had (its key or address is unusable, or taken by one before it) is left out;
// the error joins one for each, and the rest are set all the same.
//
// With each of the gateway's keys a peer costs two goroutines and some 32 KiB, and
// there are at most 65,536. Adding one takes a Curve25519 multiplication, so that ten
// thousand take a second or more, in which a further call waits.
func (e *Endpoint) SetPeers(peers []Peer) error {
	e.control.Lock()
	defer e.control.Unlock()
	if e.closed {
		return ErrClosed
	}
	keys := *e.keys.Load()
	wanted, errs := vet(peers)
	// First out with what is gone or has moved, so that its address is free.
	for key, p := range e.byKey {
		w, stays := wanted[key]
		if stays && w.Address == p.addr {
			continue
		}
		e.mu.Lock()
		delete(e.byAddr, p.addr)
		e.mu.Unlock()
		delete(e.byKey, key)
		clear(p.psk[:])
		if stays {
			continue // keeps its session; its address is replaced below
		}
		for _, k := range keys {
			k.dev.RemovePeer(device.NoisePublicKey(key))
		}
	}
	for key, w := range wanted {
		p := e.byKey[key]
		if p != nil {
			errs = append(errs, e.change(p, w))
			continue
		}
		p = &peer{settings: settings{key, w.Address, w.PresharedKey, w.Endpoint}}
		p.active.Store(w.Active)
		var failed error
		for _, k := range keys {
			// What the device has learned of a peer that has moved stays.
			place := k.dev.LookupPeer(device.NoisePublicKey(key)) == nil
			failed = errors.Join(failed, k.add(p.settings, place))
		}
		if failed != nil {
			errs = append(errs, failed)
			continue
		}
		e.byKey[key] = p
		e.mu.Lock()
		e.byAddr[w.Address] = p
		e.mu.Unlock()
	}
	return errors.Join(errs...)
}

// change makes a peer, whose address stays, what is wanted.
func (e *Endpoint) change(p *peer, w Peer) error {
	if p.active.Swap(w.Active) && !w.Active {
		p.lastReport.Store(e.clock()) // hold-down, see Peer.Active
	}
	psk, place := p.psk != w.PresharedKey, p.outer != w.Endpoint && w.Endpoint.IsValid() && e.socket == nil
	p.psk, p.outer = w.PresharedKey, w.Endpoint
	if !psk && !place {
		return nil
	}
	var errs []error
	for _, k := range *e.keys.Load() {
		errs = append(errs, k.set(p.settings, "update_only=true\n", psk, place))
	}
	return errors.Join(errs...)
}

// add makes p a peer of the device; place: also tell where it was last.
func (k *serverKey) add(p settings, place bool) error {
	return k.set(p, fmt.Sprintf("replace_allowed_ips=true\nallowed_ip=%v/32\n", p.addr), true, place)
}

// set configures a peer. Of a pre-shared key that it hands over the library's reader
// leaves copies to the garbage collector.
func (k *serverKey) set(p settings, lines string, psk, place bool) error {
	b := make([]byte, 0, 512)
	defer func() { clear(b[:cap(b)]) }()
	b = hex.AppendEncode(append(b, "public_key="...), p.key[:])
	b = append(append(b, '\n'), lines...)
	if psk {
		b = hex.AppendEncode(append(b, "preshared_key="...), p.psk[:])
		b = append(b, '\n')
	}
	if place && p.outer.IsValid() {
		b = p.outer.AppendTo(append(b, "endpoint="...))
		b = append(b, '\n')
	}
	if err := k.dev.IpcSetOperation(bytes.NewReader(b)); err != nil {
		return fmt.Errorf("wireguard: set the peer at %v: %w", p.addr, err)
	}
	return nil
}

// vet sorts out the peers that can't be had.
func vet(peers []Peer) (wanted map[[32]byte]Peer, errs []error) {
	wanted = make(map[[32]byte]Peer, len(peers))
	taken := make(map[netip.Addr]bool, len(peers))
	for _, p := range peers {
		p.Address = p.Address.Unmap()
		_, again := wanted[p.PublicKey]
		switch {
		case !p.Address.Is4():
			errs = append(errs, fmt.Errorf("wireguard: peer at %v: want an IPv4 address", p.Address))
		case p.PublicKey == [32]byte{}:
			errs = append(errs, fmt.Errorf("wireguard: peer at %v: public key is missing", p.Address))
		case again:
			errs = append(errs, fmt.Errorf("wireguard: peer at %v: its public key is another peer's", p.Address))
		case taken[p.Address]:
			errs = append(errs, fmt.Errorf("wireguard: peer at %v: its address is another peer's", p.Address))
		default:
			wanted[p.PublicKey] = p
			taken[p.Address] = true
		}
	}
	return wanted, errs
}

func (e *Endpoint) peerAt(addr netip.Addr) *peer {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.byAddr[addr]
}

// LastHeard tells when the peer with an inner address last sent something: data, or a
// probe. False: not since Listen.
func (e *Endpoint) LastHeard(addr netip.Addr) (time.Time, bool) {
	p := e.peerAt(addr)
	if p == nil {
		return time.Time{}, false
	}
	at := p.lastHeard.Load()
	return e.start.Add(time.Duration(at)), at != 0
}

// clock is the endpoint's time in nanoseconds, never 0.
func (e *Endpoint) clock() int64 { return int64(time.Since(e.start)) + 1 }
