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

// terminal is a simulated phone with a simulated barrel on its hotspot, and a
// client of the phone API that tries everything once.
type terminal struct {
	phone  *phone.Phone
	barrel *barrel.Barrel
	id     string             // of the barrel
	key    ed25519.PrivateKey // that the barrel signs with
	http   *http.Client
	token  string
}

// heartbeat is how often barrels are heard from: often enough to keep their
// leases of 10 s, seldom enough not to be the load that is measured.
const heartbeat = 3 * time.Second

// terminals attaches phones, and puts a barrel on each of their hotspots.
func (s *site) terminals(ctx context.Context, c *carrier.Carrier, subs []carrier.Subscriber) ([]*terminal, error) {
	_, roots, err := s.identity("operator")
	if err != nil {
		return nil, err
	}
	gateway, err := grantKey(s.layout.GrantKey)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.barrelDir(), 0o700); err != nil {
		return nil, err
	}
	list := make([]*terminal, len(subs))
	err = all(ctx, len(subs), hands, func(ctx context.Context, i int) error {
		t, err := newTerminal(ctx, c, subs[i], roots)
		if list[i] = t; err != nil {
			return err
		}
		if err := s.equip(ctx, t, i, gateway); err != nil {
			return err
		}
		return errors.Join(t.barrel.PowerOn(), t.barrel.Join(ctx, t.phone.Hotspot()))
	})
	if err != nil {
		return list, err
	}
	return list, s.awaitBarrels(ctx, len(list))
}

// awaitBarrels waits until the leader has heard from n barrels.
func (s *site) awaitBarrels(ctx context.Context, n int) error {
	for begin := time.Now(); ; {
		list, err := adminapi.All[adminapi.Barrel]("/v1/barrels", func(path string, into any) error {
			return patient(ctx, func() error { return s.admin.call(ctx, "GET", path, nil, into) })
		})
		if err != nil {
			return err
		}
		alive := 0
		for _, b := range list {
			if b.Alive {
				alive++
			}
		}
		if alive >= n {
			return nil
		}
		if time.Since(begin) > 30*time.Second {
			return fmt.Errorf("the gateway hears from %d of %d barrels", alive, n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *site) barrelDir() string { return filepath.Join(s.dir, "barrels") }

// newTerminal attaches a phone.
func newTerminal(ctx context.Context, c *carrier.Carrier, sub carrier.Subscriber, roots *x509.CertPool) (*terminal, error) {
	p, err := phone.New(phone.Config{SIM: sub, Operator: c, Gateway: innerGateway, App: phone.AppConfig{RootCAs: roots}})
	if err != nil {
		return nil, err
	}
	t := &terminal{phone: p, http: &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext: p.Stack().DialContext, MaxIdleConnsPerHost: 8,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: innerGateway.String()},
		},
	}}
	return t, p.Attach(ctx)
}

// equip enlists a barrel, hands it to terminal i, and makes it.
func (s *site) equip(ctx context.Context, t *terminal, i int, gateway ed25519.PublicKey) error {
	t.id = fmt.Sprintf("BENCH-%04d", i)
	id, err := ident.ParseBarrelID(t.id)
	if err != nil {
		return err
	}
	mac, err := ident.ParseMAC(macOf(1<<20 + i)) // none of a terminal
	if err != nil {
		return err
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	psk := sha256.Sum256(key)
	err = s.admin.call(ctx, "PUT", "/v1/barrels/"+t.id, adminapi.Barrel{
		ID: t.id, MAC: mac.String(), SealType: sealType, PSKIdentity: t.id, PSK: base64.StdEncoding.EncodeToString(psk[:]),
		ReceiptPublicKey: base64.StdEncoding.EncodeToString(public),
	}, nil)
	if err != nil {
		return err
	}
	if err := s.admin.call(ctx, "POST", "/v1/barrels/"+t.id+"/checkout", adminapi.CheckOut{IMSI: imsiOf(i)}, nil); err != nil {
		return err
	}
	t.key = key
	t.barrel = barrel.New(barrel.Config{
		Identity: barrel.Identity{ID: id, SealType: sealType, Gateway: gateway, Key: key}, MAC: mac,
		Credentials: barrel.Credentials{PSKIdentity: t.id, PSK: psk[:]}, StateFile: filepath.Join(s.barrelDir(), t.id+".json"),
		Gateway: netip.AddrPortFrom(innerGateway, wire.BarrelPort), Heartbeat: heartbeat,
	})
	return nil
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

// request asks for one stamping with the barrel. It repeats itself, under one
// request id, while it isn't decided.
func (t *terminal) request(ctx context.Context, order string) (a wire.UseAnswer, err error) {
	ask := wire.UseRequest{
		RequestID: rand.Text(), TerminalAddress: t.phone.Address().String(), ServerAddress: sealServer.String(),
		Time: time.Now(), Order: order, Barrel: t.id, Count: 1,
	}
	return a, patient(ctx, func() error { return t.call(ctx, "POST", wire.PathUses, ask, &a) })
}

// settle brings the barrel's word that nothing was stamped.
func (t *terminal) settle(ctx context.Context, a wire.UseAnswer) error {
	statement, err := grant.SignStatement(grant.Statement{
		Barrel: t.id, Order: a.Order, UseID: a.Use, Counter: a.Counter, At: time.Now(),
	}, t.key)
	if err != nil {
		return err
	}
	return patient(ctx, func() error {
		return t.call(ctx, "POST", wire.SettlementPath(a.Use), wire.SettlementReport{Statement: statement}, nil)
	})
}

func (t *terminal) close() {
	if t.barrel != nil {
		t.barrel.PowerLoss()
	}
	t.http.CloseIdleConnections()
	t.phone.Close()
}
