//go:build linux

package k8s

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/e2e/people"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

func (s *site) roots() *x509.CertPool {
	s.Helper()
	pool, err := config.Path(s.file("company", "pki", "ca.pem")).Pool()
	if err != nil {
		s.Fatal(err)
	}
	return pool
}

// simulators is where they say what happens to them.
func (s *site) simulators() *slog.Logger {
	f, err := os.OpenFile(s.file("simulators.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.Fatal(err)
	}
	s.life.Cleanup(func() { _ = f.Close() })
	return slog.New(slog.NewTextHandler(f, nil))
}

func imsi(n int) string    { return fmt.Sprintf("46001%010d", n) }
func handset(n int) string { return fmt.Sprintf("35693803%06d", n) }

// importDevices has the operator import a file.
func (s *site) importDevices(doc any) {
	s.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		s.Fatal(err)
	}
	s.write(s.file("devices.yaml"), string(text))
	s.sealctl("device", "import", s.file("devices.yaml"))
}

// phones enlists some SIMs in their handsets.
func (s *site) phones(c *carrier.Carrier, n int) (all []*phone.Phone) {
	s.Helper()
	var terminals []adminapi.Terminal
	for i := range n {
		terminals = append(terminals, adminapi.Terminal{IMSI: imsi(i), IMEIs: []string{handset(i)}, APNs: []string{apn.String()}})
	}
	s.importDevices(map[string]any{"terminals": terminals})
	for i := range n {
		p, err := phone.New(phone.Config{
			SIM: carrier.Subscriber{
				IMSI: must(ident.ParseIMSI(imsi(i))), MSISDN: must(ident.ParseMSISDN(fmt.Sprintf("8613%09d", i))),
				IMEI: must(ident.ParseIMEI(handset(i))), APN: apn, PLMN: must(ident.ParsePLMN("46001")),
			},
			Operator: c, Gateway: innerAddress, Logger: s.simulators(),
			App: phone.AppConfig{RootCAs: s.roots(), SealServer: s.sealServer().String()},
		})
		if err != nil {
			s.Fatal(err)
		}
		s.life.Cleanup(p.Close)
		all = append(all, p)
	}
	return all
}

// worker is somebody outside with a phone and a barrel, logged in.
type worker struct {
	*site
	phone  *phone.Phone
	app    *phone.App
	barrel *barrel.Barrel
	id     string // the barrel's
}

// hire hands a barrel to the first SIM, and has somebody go out with both.
func (s *site) hire(p *phone.Phone) *worker {
	s.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	psk := make([]byte, 32)
	_, _ = rand.Read(psk) // never fails (crypto/rand)
	const id, mac = "SB-0001", "02:00:5e:10:00:01"
	b64 := base64.StdEncoding.EncodeToString
	s.importDevices(map[string]any{"barrels": []any{map[string]string{
		"id": id, "mac": mac, "seal_type": "contract", "psk_identity": id, "psk": b64(psk),
		"receipt_public_key": b64(public), "checked_out_to": imsi(0),
	}}})
	b := barrel.New(barrel.Config{
		Identity: barrel.Identity{ID: must(ident.ParseBarrelID(id)), SealType: "contract", Gateway: s.grantKey(), Key: private, Firmware: "e2e"},
		MAC:      must(ident.ParseMAC(mac)), Credentials: barrel.Credentials{PSKIdentity: id, PSK: psk},
		StateFile: s.file(id + ".state"), Gateway: netip.AddrPortFrom(innerAddress, wire.BarrelPort), Logger: s.simulators(),
	})
	if err := b.PowerOn(); err != nil {
		s.Fatal(err)
	}
	s.life.Cleanup(b.PowerLoss)
	w := &worker{site: s, phone: p, app: p.App(), barrel: b, id: id}
	w.goOut()
	return w
}

// goOut has the barrel join the phone's hotspot, and somebody log in.
func (w *worker) goOut() {
	w.Helper()
	if err := w.barrel.Join(w.soon(), w.phone.Hotspot()); err != nil {
		w.Fatal(err)
	}
	if now, err := w.barrel.Await(w.soon(), func(v wire.BarrelStatus) bool { return v.LeaseMs > 0 }); err != nil {
		w.Fatalf("the gateway doesn't hear the barrel: %v: %+v", err, now)
	}
	w.insist("login", func() error {
		_, err := w.app.Login(w.soon(), people.Applicant, people.Password(people.Applicant))
		return err
	})
}

// grantKey is the public half of the key that grants are signed with.
func (s *site) grantKey() ed25519.PublicKey {
	s.Helper()
	raw, err := os.ReadFile(s.layout.GrantKey)
	if err != nil {
		s.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		s.Fatal(s.layout.GrantKey + " holds no PEM block")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		s.Fatal(err)
	}
	return key.(ed25519.PublicKey)
}

// insist tries again while what is in the way passes by itself.
func (w *worker) insist(what string, try func() error) {
	w.Helper()
	passing := []wire.Code{wire.CodeBarrelOffline, wire.CodeServerUnreachable, barrel.CodeNoLease}
	w.until(what, func() bool {
		err := try()
		var p *wire.Problem
		var b *phone.BarrelError
		switch {
		case err == nil:
			return true
		case errors.As(err, &p) && (p.Code == "" && p.Status == http.StatusBadGateway || slices.Contains(passing, p.Code)):
		case errors.As(err, &b) && slices.Contains(passing, b.Problem.Title):
		default:
			w.Fatalf("%s: %v", what, err)
		}
		return false
	})
}

// useUp stamps two pages, patiently; middle happens when one is stamped. Then the order
// is used up: one more use is refused, and ledger and barrel agree. What is unaccounted
// for may be any order's, so that an order for two pages is for more.
func (w *worker) useUp(middle func()) {
	w.Helper()
	w.orders++
	order := w.people.Order(fmt.Sprintf("WO-%d", w.orders), 2+w.unaccounted)
	request := w.app.NewUseRequest(order, w.id, 2)
	var use wire.UseAnswer
	w.insist("request", func() (err error) { use, err = w.app.SendUseRequest(w.soon(), request); return err })
	w.insist("unlock", func() error { _, err := w.app.Unlock(w.soon(), use, people.Applicant, order); return err })
	for _, sense := range []func(string) error{w.barrel.Finger, w.barrel.Face} {
		if err := sense(people.Applicant); err != nil {
			w.Fatal(err)
		}
	}
	for n := range 2 {
		stamp, err := w.barrel.Press()
		if err != nil {
			w.Fatal(err)
		}
		image, err := w.barrel.Photograph(order, int(stamp))
		if err != nil {
			w.Fatal(err)
		}
		w.insist("upload", func() error {
			_, err := w.app.UploadEvidence(w.soon(), use.Use, stamp, image, "image/png")
			return err
		})
		if n == 0 {
			middle()
		}
	}
	w.until("the ledger knows what became of the use", func() bool {
		u, err := w.app.Use(w.soon(), use.Use)
		return err == nil && u.State == wire.UseSettled
	})
	w.insist("refusal of a third use", func() error {
		_, err := w.app.RequestUse(w.soon(), order, w.id, 1)
		var p *wire.Problem
		if errors.As(err, &p) && (p.Status == http.StatusConflict || p.Status == http.StatusForbidden) {
			return nil
		}
		if err == nil {
			w.Fatalf("%s is used up, and used once more", order)
		}
		return err
	})
	all := list[adminapi.Order](w.site, "order", "list")
	if i := slices.IndexFunc(all, func(o adminapi.Order) bool { return o.Number == order }); i < 0 || all[i].Confirmed != 2 || all[i].Reserved != 0 {
		w.Errorf("ledger of %s: %+v", order, all)
	}
	if n := w.barrel.Impressions(); n != uint64(2*w.orders) {
		w.Errorf("%d impressions on paper after %d orders of two", n, w.orders)
	}
}
