package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// onFallback is a node with a terminal on the fallback path under a document.
type onFallback struct {
	*fakeNode
	t     *testing.T
	sweep *admissions
}

func newOnFallback(t *testing.T, document string) *onFallback {
	f := &onFallback{fakeNode: &fakeNode{machine: state.New()}, t: t}
	f.doNow(t, &command.RaiseLevel{Level: command.Level}, nil)
	f.doNow(t, &command.PutPolicy{Document: []byte(document), Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 24}}}, nil)
	f.doNow(t, &command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: imsi, Apns: []string{"seal.corp"}, Imeis: []string{"35693803564380"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: key[:],
	}}, nil)
	r := &rules{records: f, log: slog.New(slog.DiscardHandler)}
	f.sweep = &admissions{cluster: &log{fakeNode: f.fakeNode, committed: func() {}}, rules: r.inForce, holds: func() bool { return true }, log: slog.New(slog.DiscardHandler)}
	return f
}

// lease gives the terminal one that shows something; it takes the place of the last.
func (f *onFallback) lease(shown policy.Credentials, lifetime time.Duration) {
	f.doNow(f.t, &command.LeaseFallback{
		Imsi: imsi, PublicKey: key[:], PresharedKey: bytes.Repeat([]byte{1}, 60), Shown: uint32(shown), LifetimeSeconds: uint32(lifetime / time.Second),
		PolicyRevision: f.machine.PolicyRevision(), SubscriberVersion: f.machine.Subscriber(imsi).Version,
	}, nil)
}

func (f *onFallback) attach() {
	f.doNow(f.t, &command.AttachWireGuard{
		Imsi: imsi, Apn: "seal.corp", PublicKey: key[:], PolicyRevision: f.machine.PolicyRevision(), SubscriberVersion: f.machine.Subscriber(imsi).Version,
		Lease: f.machine.FallbackLease(imsi).GetNumber(),
	}, nil)
}

// carrier attaches the terminal over the carrier, which sees it in a cell of 46001.
func (f *onFallback) carrier(cell byte) *command.Session {
	opened := new(command.Opened)
	f.doNow(f.t, &command.OpenSession{
		Imsi: imsi, Apn: "seal.corp", PolicyRevision: f.machine.PolicyRevision(), SubscriberVersion: f.machine.Subscriber(imsi).Version, Entropy: bytes.Repeat([]byte{cell}, 16),
		Gtp: &command.GTPPath{
			Version: 2, Ebi: 5, RatType: 6, ServingPlmn: "46001", Imei: "35693803564380", PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}},
			UserLocation: []byte{0x18, 0x64, 0xf0, 0x10, 0, 1, 0x64, 0xf0, 0x10, 0, 0, 0, cell},
		},
	}, opened)
	return opened.Session
}

// stays sweeps, and tells whether the terminal is on the fallback path.
func (f *onFallback) stays(what string, want bool) {
	f.t.Helper()
	if !f.sweep.sweep(f.t.Context()) {
		f.t.Fatalf("%s: the sweep wasn't finished", what)
	}
	if got := f.machine.SessionByKey(imsi, "seal.corp").GetWireguard() != nil; got != want {
		f.t.Errorf("%s: on the fallback path: %t", what, got)
	}
}

// document is the first policy with something else in it.
func document(old, new string) string {
	return strings.Replace(string(bundle.Default(bundle.Params{})), old, new, 1)
}

const certified = "    credentials: {fallback: [wireguard, certificate]}\n    requireIMEI: true"

// A path that came by a lease lasts no longer than what the lease shows is good, and
// than what takes its place shows as much. That a policy has no rules makes no
// difference.
func TestFallbackEndsWithWhatItsLeaseShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOnFallback(t, document("    requireIMEI: true", certified))
		f.lease(policy.CredentialCertificate, 12*time.Hour)
		f.attach()
		f.stays("with a certificate", true)
		f.lease(policy.CredentialCertificate|policy.CredentialPassword, 12*time.Hour)
		time.Sleep(askAgain)
		f.stays("with more than that", true)
		f.lease(policy.CredentialPassword, 12*time.Hour)
		time.Sleep(askAgain)
		f.stays("with a password", false)

		f.lease(policy.CredentialCertificate, time.Hour)
		f.attach()
		time.Sleep(time.Hour - time.Second)
		f.stays("until it expires", true)
		time.Sleep(askAgain)
		f.stays("when it has expired", false)
	})
}

// A policy that asks for more ends what came by the key alone, at once; one that asks
// for no more than that ends nothing, however long it lasts.
func TestFallbackByItsKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOnFallback(t, document("    requireIMEI: true", "    credentials: {fallback: [wireguard]}\n    requireIMEI: true"))
		f.attach()
		f.stays("by its key", true)
		time.Sleep(1000 * time.Hour)
		f.stays("long after", true)
		f.doNow(t, &command.PutPolicy{BaseRevision: 1, Document: []byte(document("    requireIMEI: true", certified))}, nil)
		f.stays("when more is asked for", false)
	})
}

// A terminal that is admitted at a place stays on the fallback while its carrier sees
// it there, and as long after that as the place counts; the carrier's path, with which
// it went elsewhere, ends as well.
func TestFallbackEndsWithItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOnFallback(t, document("\n  changeControl:", `
  locations: {office: {ecgis: [46001-0000001]}}
  rules:
    - {id: office, action: attach, effect: permit, match: {locations: [office]}}
  changeControl:`))
		s := f.carrier(1)
		f.attach()
		time.Sleep(100 * time.Hour)
		f.stays("beside the carrier", true)
		f.doNow(t, &command.ClosePath{Session: s.Id, Path: command.PathKind_GTP, LocalTeidC: s.Gtp.LocalTeidC}, nil)
		time.Sleep(12*time.Hour - time.Second)
		f.stays("not long after", true)
		time.Sleep(askAgain)
		f.stays("long after", false)

		f.carrier(1)
		f.attach()
		f.stays("there again", true)
		s = f.machine.SessionByKey(imsi, "seal.corp")
		f.doNow(t, &command.ModifySession{Session: s.Id, LocalTeidC: s.Gtp.LocalTeidC, UserLocation: []byte{0x18, 0x64, 0xf0, 0x10, 0, 1, 0x64, 0xf0, 0x10, 0, 0, 0, 2}}, nil)
		time.Sleep(askAgain)
		f.stays("elsewhere", false)
	})
}
