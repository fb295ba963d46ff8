package wireguard

import (
	"context"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// Pace of handshakes that the gateway begins: each costs a fraction of a millisecond
// here and as much again when it is answered.
const (
	callsAtOnce = 10
	callsEvery  = 10 * time.Millisecond
	// For so long, until one is sent, a call that couldn't be is made again at once: the
	// gateway's address may come onto its interface a moment after the socket is there,
	// and the device would wait 5 s.
	unsentFor   = time.Second
	unsentPause = 20 * time.Millisecond
)

// callBack has the gateway shake hands with the peers whose outer address is known,
// when it begins to listen: a peer with a session of the node before notices only after
// some 15 s of silence (KeepaliveTimeout + RekeyTimeout, the WireGuard paper 6.5) that
// nobody reads it any more. Each key calls, since it isn't known which of them a peer
// has; the device itself calls again, every 5 s for 90 s, whoever doesn't answer.
type callBack struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// newCallBack begins to call, the newest key and the active peers first.
func newCallBack(keys []*serverKey, peers map[[32]byte]*peer) *callBack {
	var active, standby [][32]byte
	for key, p := range peers {
		switch {
		case !p.outer.IsValid():
		case p.active.Load():
			active = append(active, key)
		default:
			standby = append(standby, key)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &callBack{cancel: cancel}
	if list := append(active, standby...); len(list) > 0 {
		c.done.Go(func() { call(ctx, keys, list) })
	}
	return c
}

func call(ctx context.Context, keys []*serverKey, peers [][32]byte) {
	tick := time.NewTicker(callsEvery)
	defer tick.Stop()
	until := time.Now().Add(unsentFor)
	for i, peer := range peers {
		if i%callsAtOnce == callsAtOnce-1 {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		for _, k := range keys {
			if p := k.dev.LookupPeer(device.NoisePublicKey(peer)); p != nil {
				if shake(ctx, p, until) {
					until = time.Time{}
				}
			}
		}
	}
}

// shake begins a handshake, until then again while it can't be sent; the device logs
// why. It tells whether it was sent.
func shake(ctx context.Context, p *device.Peer, until time.Time) bool {
	for p.SendHandshakeInitiation(false) != nil {
		if !time.Now().Before(until) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(unsentPause):
		}
		p.ExpireCurrentKeypairs() // else it counts as sent, for 5 s
	}
	return true
}

// stop returns when nobody is called any more; a nil callBack has nobody to call.
func (c *callBack) stop() {
	if c != nil {
		c.cancel()
		c.done.Wait()
	}
}
