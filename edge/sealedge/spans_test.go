package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/edge/usetest"
)

// Whatever changes a use belongs to its trace, and nothing else does.
func TestChangedUse(t *testing.T) {
	w := usetest.New(t, time.Now)
	s := w.Attach(usetest.Terminal)
	now := time.Now()
	var subscriber *command.Subscriber
	var barrel *command.Barrel
	w.View(func(m *state.Machine) { subscriber, barrel = m.Subscriber(usetest.Terminal), m.Barrel(usetest.Barrel) })
	res, err := w.Propose(t.Context(), command.New("phone:"+usetest.Terminal, "r1", "test", &command.ReserveUses{
		Order: usetest.Order, Barrel: usetest.Barrel, Imsi: usetest.Terminal, User: usetest.User, SealType: "company", Level: 1,
		Methods: []string{"fingerprint"}, Count: 1, Permitted: 2, NotBefore: now.Add(-time.Hour).UnixNano(), NotAfter: now.Add(time.Hour).UnixNano(),
		GrantNotAfter: now.Add(time.Minute).UnixNano(), EvidenceSeconds: 60, PolicyRevision: 1,
		SubscriberVersion: subscriber.Version, BarrelVersion: barrel.Version, Session: s.Id,
	}))
	use := new(command.Use)
	if err != nil || res.Into(use) != nil || use.Id == 0 {
		t.Fatalf("%v, %v", res, err)
	}
	for _, c := range []struct {
		payload proto.Message
		want    bool
	}{
		{&command.RecordReceipt{Use: use.Id}, true},
		{&command.RecordEvidence{Use: use.Id}, true},
		{&command.SettleUse{Use: use.Id}, true},
		{&command.MarkOverdue{Use: use.Id}, true},
		{&command.ExpireUse{Use: use.Id}, true},
		{&command.ReleaseUse{Use: use.Id}, true},
		{&command.ConfirmRelease{Use: use.Id}, true},
		{&command.Disconnect{Use: use.Id, Order: usetest.Order}, true},
		{&command.Disconnect{Order: usetest.Order}, true},
		{&command.Disconnect{Order: "WO-OTHER"}, false},
		{&command.ExpireUse{Use: use.Id + 1}, false},
		{&command.AckLock{Lock: 1}, false}, // there is none yet
		{&command.RecordDecision{Kind: "use"}, false},
		{&command.OpenSession{Imsi: usetest.Terminal}, false},
	} {
		got := changedUse(w, command.New("test", "", "test", c.payload))
		if (got.GetId() == use.Id) != c.want || got != nil && !c.want {
			t.Errorf("%T %v: use %d", c.payload, c.payload, got.GetId())
		}
	}
	w.Do(&command.Disconnect{SourceId: "d1", Order: usetest.Order, Use: use.Id})
	if got := changedUse(w, command.New("test", "", "test", &command.AckLock{Lock: 1})); got.GetId() != use.Id {
		t.Errorf("the acknowledgement of its lock: use %d", got.GetId())
	}
}

// All nodes derive the ids of traces alike, and by a key that is for nothing else.
func TestKeyOfTraces(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	l, err := setup.Init(dir, setup.Options{Nodes: 2, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, file := range l.Nodes {
		cfg, err := config.Load(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := readSecrets(cfg.Secrets)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.traces) != 32 || string(s.traces) == string(s.teid) || string(s.traces) == string(s.radius) {
			t.Errorf("the key is %x", s.traces)
		}
		keys = append(keys, fmt.Sprintf("%x", s.traces))
	}
	if keys[0] != keys[1] {
		t.Error("the nodes have different keys")
	}
}

// A collector is verified by the CA that is configured for it, and is shown the
// certificate, read anew each time.
func TestTLSToTheCollector(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	if _, err := setup.Init(dir, setup.Options{Nodes: 1, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	pki := func(name string) config.Path { return config.Path(filepath.Join(dir, "pki", name)) }
	c, err := collectorTLS(config.Traces{CA: pki("ca.pem"), Cert: pki("gateway.pem"), Key: pki("gateway-key.pem")})
	if err != nil || c.RootCAs == nil || c.InsecureSkipVerify {
		t.Fatalf("%+v, %v", c, err)
	}
	if pair, err := c.GetClientCertificate(nil); err != nil || pair.Leaf == nil {
		t.Errorf("%v, %v", pair, err)
	}
	if c, err := collectorTLS(config.Traces{}); err != nil || c.RootCAs != nil || c.GetClientCertificate != nil {
		t.Errorf("without files: %+v, %v", c, err)
	}
	if _, err := collectorTLS(config.Traces{CA: pki("none.pem")}); err == nil {
		t.Error("a CA that isn't there is none")
	}
}
