package demo

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// Numbers of the demo, as 'sealedge init' sets them up.
var (
	gatewayOuter = netip.MustParseAddr("127.0.10.1")
	gatewayInner = netip.MustParseAddr("10.90.0.1")
	carrierAddr  = netip.MustParseAddr("127.0.20.1")
)

const (
	sealServer    = "127.0.2.1:8443"
	wireguardPort = 51820
	imsi          = "460010000000001"
	imei          = "35693803564380"
	otherIMEI     = "35693803564999"
	barrelID      = "SB-0001"
	barrelMAC     = "02:00:5e:10:00:01"
	strangerMAC   = "02:00:5e:99:99:99"
)

// connectionRequests are where each node answers who asks for the fallback path.
var connectionRequests = []string{"127.0.1.1:7448", "127.0.1.2:7448", "127.0.1.3:7448"}

// world is what the demo plays: the carrier's network, a phone and a barrel.
type world struct {
	carrier *carrier.Carrier
	phone   *phone.Phone
	barrel  *barrel.Barrel
	devices string // the allow-list, as 'sealctl device import' reads it
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // a constant of the demo is wrong
	}
	return v
}

// sim is the demo's SIM in a handset.
func sim(handset string) carrier.Subscriber {
	return carrier.Subscriber{
		IMSI: must(ident.ParseIMSI(imsi)), MSISDN: must(ident.ParseMSISDN("8613800000001")), IMEI: must(ident.ParseIMEI(handset)),
		APN: must(ident.ParseAPN("seal.corp")), PLMN: must(ident.ParsePLMN("46001")),
	}
}

// newWorld makes the devices with fresh keys and writes the allow-list.
func newWorld(dir string, roots *x509.CertPool, say func(text string), log *slog.Logger) (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	grantKey, err := publicKey(filepath.Join(dir, "pki", "grant-public.pem"))
	if err != nil {
		return nil, err
	}
	phoneWG, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	receiptPublic, receiptKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	psk := make([]byte, 32)
	_, _ = rand.Read(psk) // never fails (crypto/rand)

	if w.carrier, err = carrier.New(carrier.Config{Address: carrierAddr, Gateway: gatewayOuter, Logger: log}); err != nil {
		return nil, err
	}
	w.phone, err = phone.New(phone.Config{
		SIM: sim(imei), Operator: w.carrier, Gateway: gatewayInner, Logger: log,
		Fallback: &phone.Fallback{PrivateKey: [32]byte(phoneWG.Bytes()), Requests: connectionRequests},
		App:      phone.AppConfig{RootCAs: roots, SealServer: sealServer, AttemptTimeout: 2 * time.Second},
	})
	if err != nil {
		return nil, err
	}
	w.barrel = barrel.New(barrel.Config{
		Identity: barrel.Identity{ID: must(ident.ParseBarrelID(barrelID)), SealType: "contract", Gateway: grantKey, Key: receiptKey, Firmware: "demo"},
		MAC:      must(ident.ParseMAC(barrelMAC)), Credentials: barrel.Credentials{PSKIdentity: barrelID, PSK: psk},
		StateFile: filepath.Join(dir, "barrel.state"), Gateway: netip.AddrPortFrom(gatewayInner, wire.BarrelPort),
		Speak: say, Logger: log,
	})
	b64 := base64.StdEncoding.EncodeToString
	w.devices = filepath.Join(dir, "devices.yaml")
	return w, os.WriteFile(w.devices, fmt.Appendf(nil, `terminals:
  - imsi: "%s"
    msisdn: "8613800000001"
    imeis: ["%s"]
    apns: [seal.corp]
    label: sales phone
    wireguard_public_key: %s
barrels:
  - id: %s
    mac: %s
    seal_type: contract
    label: contract seal
    psk_identity: %s
    psk: %s
    receipt_public_key: %s
    checked_out_to: "%s"
`, imsi, imei, b64(phoneWG.PublicKey().Bytes()), barrelID, barrelMAC, barrelID, b64(psk), b64(receiptPublic), imsi), 0o600)
}

func (w *world) close() {
	if w.barrel != nil {
		w.barrel.PowerLoss()
	}
	if w.phone != nil {
		w.phone.Close()
	}
	if w.carrier != nil {
		_ = w.carrier.Close() // nothing is lost with it
	}
}

func publicKey(file string) (ed25519.PublicKey, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New(file + " holds no PEM block")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := k.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, not an Ed25519 key", file, k)
	}
	return key, nil
}

// awaitBarrel waits until the barrel is as wanted.
func (w *world) awaitBarrel(ctx context.Context, what string, wanted func(wire.BarrelStatus) bool) error {
	if now, err := w.barrel.Await(ctx, wanted); err != nil {
		return fmt.Errorf("the barrel is not %s: %+v: %w", what, now, err)
	}
	return nil
}
