package drill

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// UseConfig is a canary that could use a seal: a phone with a barrel, an order
// and its user. The order is checked, never used.
type UseConfig struct {
	SIM            carrier.Subscriber
	Roots          *x509.CertPool // that vouch for the phone API
	SealServer     string         // that the order is on, host:port
	User, Password string
	Order          string

	Barrel      string
	MAC         string
	SealType    string
	PSKIdentity string
	PSK         []byte
	Key         ed25519.PrivateKey // that the barrel signs with
	GrantKey    ed25519.PublicKey  // of the gateway
	StateFile   string             // of the barrel
}

// use is the phone and the barrel.
type use struct {
	cfg    UseConfig
	phone  *phone.Phone
	barrel *barrel.Barrel
}

// Times of asking.
const (
	useTry   = time.Second            // for one try of a call
	useAgain = 100 * time.Millisecond // from one to the next, below what a terminal may ask
	useLimit = 45 * time.Second       // for the barrel to be heard of again
)

// Use gives the canary a phone with a barrel. It returns when a seal could be
// used.
func (c *Canary) Use(ctx context.Context, cfg UseConfig) error {
	id, err1 := ident.ParseBarrelID(cfg.Barrel)
	mac, err2 := ident.ParseMAC(cfg.MAC)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("canary's barrel: %w", err)
	}
	p, err := phone.New(phone.Config{
		SIM: cfg.SIM, Operator: c.carrier, Gateway: c.cfg.Inner,
		App: phone.AppConfig{RootCAs: cfg.Roots, SealServer: cfg.SealServer, AttemptTimeout: useTry},
	})
	if err != nil {
		return err
	}
	u := &use{cfg: cfg, phone: p, barrel: barrel.New(barrel.Config{
		Identity: barrel.Identity{ID: id, SealType: cfg.SealType, Gateway: cfg.GrantKey, Key: cfg.Key}, MAC: mac,
		Credentials: barrel.Credentials{PSKIdentity: cfg.PSKIdentity, PSK: cfg.PSK}, StateFile: cfg.StateFile,
		Gateway: netip.AddrPortFrom(c.cfg.Inner, wire.BarrelPort),
	})}
	c.use = u
	ctx, cancel := context.WithTimeout(ctx, useLimit)
	defer cancel()
	if err := p.Attach(ctx); err != nil {
		return fmt.Errorf("canary's phone: %w", err)
	}
	if err := errors.Join(u.barrel.PowerOn(), u.barrel.Join(ctx, p.Hotspot())); err != nil {
		return fmt.Errorf("canary's barrel: %w", err)
	}
	if _, err := p.App().Login(ctx, cfg.User, cfg.Password); err != nil {
		return fmt.Errorf("canary's user: %w", err)
	}
	return u.await(ctx)
}

// await asks until a use would be granted.
func (u *use) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, useLimit)
	defer cancel()
	var err error
	if !wait(ctx, useAgain, func() bool { err = u.check(ctx); return err == nil }) {
		return fmt.Errorf("no seal could be used: %w", err)
	}
	return nil
}

// check asks once.
func (u *use) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, useTry)
	defer cancel()
	_, err := u.phone.App().CheckUse(ctx, u.cfg.Order, u.cfg.Barrel, 1)
	return err
}

func (u *use) close() {
	u.barrel.PowerLoss()
	u.phone.Close()
}
