package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// terminal is a simulated phone with simulated barrels on its hotspot, and a
// client of the phone API that tries everything once.
type terminal struct {
	phone   *phone.Phone
	barrels []*sealBarrel
	http    *http.Client
	token   string
}

// sealBarrel is a barrel and the key that it signs with.
type sealBarrel struct {
	*barrel.Barrel
	id  string
	key ed25519.PrivateKey
}

// heartbeat is how often barrels are heard from: often enough to keep their
// leases of 10 s, seldom enough not to be the load that is measured.
const heartbeat = 4 * time.Second

// terminals attaches phones, and puts barrels on each of their hotspots.
func (s *site) terminals(ctx context.Context, c *carrier.Carrier, subs []carrier.Subscriber, barrels int) ([]*terminal, error) {
	_, roots, err := s.identity("operator")
	if err != nil {
		return nil, err
	}
	gateway, err := grantKey(s.layout.GrantKey)
	if err != nil {
		return nil, err
	}
	memory := filepath.Join(s.dir, "barrels")
	if err := os.Mkdir(memory, 0o700); err != nil {
		return nil, err
	}
	list := make([]*terminal, len(subs))
	err = all(ctx, len(subs), hands, func(ctx context.Context, i int) error {
		t, err := newTerminal(ctx, c, subs[i], roots)
		list[i] = t
		if err != nil {
			return err
		}
		for n := range barrels {
			b, err := s.barrel(ctx, i*barrels+n, imsiOf(i), memory, gateway)
			if err != nil {
				return err
			}
			t.barrels = append(t.barrels, b)
			if err := errors.Join(b.PowerOn(), b.Join(ctx, t.phone.Hotspot())); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return list, err
	}
	return list, all(ctx, len(list), hands, func(ctx context.Context, i int) error { return list[i].awaitLeases(ctx) })
}

// newTerminal attaches a phone.
func newTerminal(ctx context.Context, c *carrier.Carrier, sub carrier.Subscriber, roots *x509.CertPool) (*terminal, error) {
	p, err := phone.New(phone.Config{SIM: sub, Operator: c, Gateway: innerGateway, App: phone.AppConfig{RootCAs: roots}})
	if err != nil {
		return nil, err
	}
	t := &terminal{phone: p, http: &http.Client{
		Timeout: 20 * time.Second,
		Transport: &http.Transport{
			DialContext: p.Stack().DialContext, MaxIdleConnsPerHost: 8,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: innerGateway.String()},
		},
	}}
	return t, p.Attach(ctx)
}

// barrel enlists a barrel, hands it to a terminal, and makes it.
func (s *site) barrel(ctx context.Context, i int, imsi, memory string, gateway ed25519.PublicKey) (*sealBarrel, error) {
	id := fmt.Sprintf("BENCH-%04d", i)
	name, err := ident.ParseBarrelID(id)
	if err != nil {
		return nil, err
	}
	mac, err := ident.ParseMAC(macOf(1<<20 + i))
	if err != nil {
		return nil, err
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	psk := sha256.Sum256(key)
	err = s.admin.call(ctx, "PUT", "/v1/barrels/"+id, adminapi.Barrel{
		ID: id, MAC: mac.String(), SealType: sealType, PSKIdentity: id, PSK: base64.StdEncoding.EncodeToString(psk[:]),
		ReceiptPublicKey: base64.StdEncoding.EncodeToString(public),
	}, nil)
	if err != nil {
		return nil, err
	}
	if err := s.admin.call(ctx, "POST", "/v1/barrels/"+id+"/checkout", adminapi.CheckOut{IMSI: imsi}, nil); err != nil {
		return nil, err
	}
	return &sealBarrel{id: id, key: key, Barrel: barrel.New(barrel.Config{
		Identity: barrel.Identity{ID: name, SealType: sealType, Gateway: gateway, Key: key}, MAC: mac,
		Credentials: barrel.Credentials{PSKIdentity: id, PSK: psk[:]}, StateFile: filepath.Join(memory, id+".json"),
		Gateway: netip.AddrPortFrom(innerGateway, wire.BarrelPort), Heartbeat: heartbeat,
	})}, nil
}

// grantKey is the public key that barrels pin.
func grantKey(file string) (ed25519.PublicKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", file)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T", file, key)
	}
	return public, nil
}

// awaitLeases waits until the gateway has heard of every barrel.
func (t *terminal) awaitLeases(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, b := range t.barrels {
		if _, err := b.Await(ctx, func(s wire.BarrelStatus) bool { return s.LeaseMs > 0 }); err != nil {
			return fmt.Errorf("%s has no lease: %w", b.id, err)
		}
	}
	return nil
}

// call is one try of a call of the phone API.
func (t *terminal) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+innerGateway.String()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	return exchange(t.http, r, out)
}

// request asks for one stamping with a barrel.
func (t *terminal) request(ctx context.Context, order string, b *sealBarrel) (wire.UseAnswer, error) {
	var a wire.UseAnswer
	return a, t.call(ctx, "POST", wire.PathUses, wire.UseRequest{
		RequestID: rand.Text(), TerminalAddress: t.phone.Address().String(), ServerAddress: sealServer.String(),
		Time: time.Now(), Order: order, Barrel: b.id, Count: 1,
	}, &a)
}

// settle brings the barrel's word that nothing was stamped.
func (t *terminal) settle(ctx context.Context, a wire.UseAnswer, b *sealBarrel) error {
	statement, err := grant.SignStatement(grant.Statement{
		Barrel: b.id, Order: a.Order, UseID: a.Use, Counter: a.Counter, At: time.Now(),
	}, b.key)
	if err != nil {
		return err
	}
	return t.call(ctx, "POST", wire.SettlementPath(a.Use), wire.SettlementReport{Statement: statement}, nil)
}

func (t *terminal) close() {
	for _, b := range t.barrels {
		b.PowerLoss()
	}
	t.http.CloseIdleConnections()
	t.phone.Close()
}
