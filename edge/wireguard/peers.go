package wireguard

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// Peer is a terminal on the allow-list.
type Peer struct {
	PublicKey [32]byte
	Address   netip.Addr // its inner address, IPv4
	// PresharedKey is mixed into handshakes; zero: none.
	PresharedKey [32]byte
	// Endpoint is where the peer was last, outside; the zero value: unknown.
	Endpoint netip.AddrPort
	// Active: this path carries the session's downlink. While it doesn't, data
	// from the peer is reported, except in the first Silence after it stopped
	// doing so: packets still in flight then prove nothing.
	Active bool
}

// peer is what the endpoint knows of a terminal. Key and address never change.
type peer struct {
	key    [32]byte
	addr   netip.Addr
	active atomic.Bool
	// Times on the endpoint's clock, 0 for never.
	lastData   atomic.Int64
	lastReport atomic.Int64
}

// SetPeers makes peers the whole allow-list. Only what differs from the last
// call is touched: the others keep their sessions. A peer that can't be had
// (its key or address is unusable, or taken by one before it) is left out; the
// error joins one for each, and the rest are set all the same.
//
// A peer costs two goroutines and some 30 KiB, and there are at most 65,536.
func (e *Endpoint) SetPeers(peers []Peer) error {
	e.control.Lock()
	defer e.control.Unlock()
	if e.closed {
		return ErrClosed
	}
	wanted, errs := vet(peers)
	// First out with what is gone or has moved, so that its address is free.
	for key, p := range e.byKey {
		if w, ok := wanted[key]; ok && w.Address == p.addr {
			continue
		}
		e.mu.Lock()
		delete(e.byAddr, p.addr)
		e.mu.Unlock()
		delete(e.byKey, key)
		if _, moves := wanted[key]; moves {
			continue // keeps its session; its address is replaced below
		}
		if err := e.dev.IpcSet("public_key=" + hex.EncodeToString(key[:]) + "\nremove=true\n"); err != nil {
			errs = append(errs, fmt.Errorf("wireguard: remove the peer at %v: %w", p.addr, err))
		}
	}
	for key, w := range wanted {
		if p := e.byKey[key]; p != nil {
			if p.active.Swap(w.Active) && !w.Active {
				p.lastReport.Store(e.clock()) // hold-down, see Peer.Active
			}
			continue
		}
		err := e.dev.IpcSet(fmt.Sprintf("public_key=%x\nreplace_allowed_ips=true\nallowed_ip=%v/32\n", key[:], w.Address))
		if err != nil {
			errs = append(errs, fmt.Errorf("wireguard: add the peer at %v: %w", w.Address, err))
			continue
		}
		p := &peer{key: key, addr: w.Address}
		p.active.Store(w.Active)
		e.byKey[key] = p
		e.mu.Lock()
		e.byAddr[w.Address] = p
		e.mu.Unlock()
	}
	return errors.Join(errs...)
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

// clock is the endpoint's time in nanoseconds, never 0.
func (e *Endpoint) clock() int64 { return int64(time.Since(e.start)) + 1 }

// uplink takes a packet that the device has decrypted and whose source is the
// peer's own address. Calls for one peer come one after the other.
func (e *Endpoint) uplink(pkt []byte) {
	defer func() {
		if r := recover(); r != nil {
			e.count.add(dropPanic, 1)
			e.log.Error("wireguard: a packet broke its handling; please report it with these bytes",
				"panic", r, "bytes", hex.EncodeToString(pkt[:min(len(pkt), 256)]))
		}
	}()
	if len(pkt) < ipv4HeaderLen || pkt[0]>>4 != 4 {
		e.count.add(dropUplinkMalformed, 1)
		return
	}
	p := e.peerAt(source(pkt))
	if p == nil { // removed while the packet was being decrypted
		e.count.add(dropUplinkNoPeer, 1)
		return
	}
	e.count.add(uplinkPackets, 1)
	e.count.add(uplinkBytes, len(pkt))
	if e.comes(p) && e.cfg.OnAuthenticated != nil {
		e.count.add(reports, 1)
		e.cfg.OnAuthenticated(p.key, netip.AddrPort{})
	}
	e.cfg.Uplink([][]byte{pkt})
}

// comes notes data from a peer and tells whether it is worth a report.
func (e *Endpoint) comes(p *peer) bool {
	now, silence := e.clock(), int64(e.cfg.Silence)
	was := p.lastData.Swap(now)
	if was != 0 && now-was < silence && (p.active.Load() || now-p.lastReport.Load() < silence) {
		return false
	}
	p.lastReport.Store(now)
	return true
}
