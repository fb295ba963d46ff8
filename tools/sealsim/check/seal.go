package check

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
)

// Seal is the barrel that the check plays, so that the decision gets as far as the
// seal server. It needs a record of its own on the allow-list, checked out to the
// check's terminal, and never that of a seal that exists: it has no memory.
type Seal struct {
	MAC ident.MAC
	PSK []byte // of DTLS; its identity is the barrel's serial
	// Port of the barrel API; 0: 5684.
	Port uint16
}

// played is a barrel that is switched on.
type played struct{ *barrel.Barrel }

func (p *played) close() { p.PowerLoss() }

// heartbeatTimeout is two handshakes and some heartbeats.
const heartbeatTimeout = 12 * time.Second

// join switches the barrel on, on the terminal's hotspot, and waits until the
// gateway hears it.
func (r *run) join(ctx context.Context) (string, error) {
	id, err := ident.ParseBarrelID(r.cfg.Barrel)
	if err != nil {
		return "", localError{err}
	}
	_, key, err := ed25519.GenerateKey(nil) // it has nothing to sign
	if err != nil {
		return "", localError{err}
	}
	port := r.cfg.Seal.Port
	if port == 0 {
		port = wire.BarrelPort
	}
	b := barrel.New(barrel.Config{
		Identity:    barrel.Identity{ID: id, Gateway: make(ed25519.PublicKey, ed25519.PublicKeySize), Key: key, Firmware: "check"},
		MAC:         r.cfg.Seal.MAC,
		Credentials: barrel.Credentials{PSKIdentity: id.String(), PSK: r.cfg.Seal.PSK},
		Gateway:     netip.AddrPortFrom(r.cfg.Inner, port), Logger: r.cfg.Logger,
	})
	if err := b.PowerOn(); err != nil {
		return "", localError{err}
	}
	r.barrel = &played{b}
	if err := b.Join(ctx, r.phone.Hotspot()); err != nil {
		return "", fmt.Errorf("the hotspot: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	if _, err := b.Await(ctx, func(s wire.BarrelStatus) bool { return s.LeaseMs > 0 }); err != nil {
		return "", errors.Join(errors.New("no heartbeat was answered"), err)
	}
	return "the gateway hears the barrel", nil
}
