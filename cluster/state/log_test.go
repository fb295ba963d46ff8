package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sealedge/sealedge/cluster/command"
)

// testLog applies commands as a log would.
type testLog struct {
	testing.TB
	m     *Machine
	now   time.Time
	index uint64
	raw   [][]byte // what was applied
	chain []*command.AuditEntry
	loose bool // leaves invariants unchecked, for speed
}

func newLog(t testing.TB) *testLog { return &testLog{TB: t, m: New(), now: start} }

// apply stamps a command, applies it and checks the invariants.
func (l *testLog) apply(c *command.Command) *command.Result {
	l.Helper()
	c.LeaderTime = l.now.UnixNano()
	raw := command.Marshal(c)
	before := l.m
	if !l.loose {
		before = l.m.Clone()
	}
	l.index++
	result, entry, err := l.m.Apply(l.index, 1, raw)
	if err != nil {
		l.Fatalf("apply %v: %v", c.Type, err)
	}
	l.raw, l.chain = append(l.raw, raw), append(l.chain, entry)
	if l.loose {
		return result
	}
	if err := invariants(l.m); err != nil {
		l.Fatalf("after %v (%v): %v", c.Type, result.Code, err)
	}
	if result.Code != command.Code_OK {
		if d := changed(before, l.m); d != "" {
			l.Fatalf("%v was refused (%v), and changed %s", c.Type, result.Code, d)
		}
	}
	return result
}

// restore replaces the machine by what a snapshot of it gives.
func (l *testLog) restore() {
	l.Helper()
	var b bytes.Buffer
	if err := l.m.WriteSnapshot(&b); err != nil {
		l.Fatal(err)
	}
	m, err := ReadSnapshot(&b)
	if err != nil {
		l.Fatalf("restore: %v", err)
	}
	if m.Digest() != l.m.Digest() {
		l.Fatal("the restored machine has another digest")
	}
	if err := invariants(m); err != nil {
		l.Fatalf("restored: %v", err)
	}
	l.m = m
}

// fill sets the preconditions that the caller did not name to what holds now.
func (l *testLog) fill(payload proto.Message, named map[string]bool) {
	m := l.m
	entropy := sha256.Sum256(fmt.Append(nil, l.index))
	version := func(imsi string) uint64 { return m.Subscriber(imsi).GetVersion() }
	set := func(name string, v any) {
		if named[name] {
			return
		}
		r := payload.ProtoReflect()
		r.Set(r.Descriptor().Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOf(v))
	}
	switch p := payload.(type) {
	case *command.PutPolicy:
		set("base_revision", m.PolicyRevision())
	case *command.PutSubscriber:
		set("base_version", version(p.Subscriber.GetImsi()))
	case *command.PutBarrel:
		set("base_version", m.Barrel(p.Barrel.GetId()).GetVersion())
	case *command.ProposeChange:
		set("policy_revision", m.PolicyRevision())
		if p.Policy != nil && p.Policy.BaseRevision == 0 {
			p.Policy.BaseRevision = m.PolicyRevision()
		}
		if p.Devices != nil {
			l.fill(p.Devices, nil)
		}
		if p.Needed > 0 {
			set("lifetime_seconds", uint32(3600))
		}
		if p.BreakGlass {
			set("review_seconds", uint32(600))
		}
	case *command.ApproveChange:
		set("digest", m.Change(p.Change).GetDigest())
		set("certificate", []byte("certificate"))
		set("signature", []byte("signature"))
	case *command.PutDevices:
		for _, c := range p.Changes {
			if s := c.GetSubscriber(); s != nil && !named["changes"] {
				s.BaseVersion = version(s.Subscriber.GetImsi())
			}
			if b := c.GetBarrel(); b != nil && !named["changes"] {
				b.BaseVersion = m.Barrel(b.Barrel.GetId()).GetVersion()
			}
		}
	case *command.OpenSession:
		set("policy_revision", m.PolicyRevision())
		set("subscriber_version", version(p.Imsi))
		set("entropy", entropy[:16])
	case *command.AttachWireGuard:
		set("policy_revision", m.PolicyRevision())
		set("subscriber_version", version(p.Imsi))
		set("public_key", m.Subscriber(p.Imsi).GetWireguardPublicKey())
		set("lease", good(m, p.Imsi, l.now).GetNumber())
	case *command.LeaseFallback:
		set("policy_revision", m.PolicyRevision())
		set("subscriber_version", version(p.Imsi))
		set("public_key", m.Subscriber(p.Imsi).GetWireguardPublicKey())
		set("preshared_key", []byte("wrapped"))
	case *command.RoamWireGuard:
		set("public_key", m.Session(p.Session).GetWireguard().GetPublicKey())
	case *command.PutServerKey:
		set("replaces", m.currentKey().GetPublicKey())
		set("private_key", []byte("wrapped"))
	case *command.ModifySession:
		set("local_teid_c", m.Session(p.Session).GetGtp().GetLocalTeidC())
	case *command.AcquireAddress:
		set("epoch", m.Address(p.Name).GetEpoch())
	case *command.AssignAddress:
		set("epoch", m.Address(p.Name).GetEpoch())
		set("term", uint64(1))
	case *command.SurrenderAddress:
		set("epoch", m.Address(p.Name).GetEpoch())
	case *command.MoveAddress:
		set("epoch", m.Address(p.Name).GetEpoch())
	case *command.BumpRestartCounter:
		set("from", m.Address(p.Name).GetRestartCounter())
	case *command.ReserveUses:
		set("policy_revision", m.PolicyRevision())
		set("subscriber_version", version(p.Imsi))
		set("barrel_version", m.Barrel(p.Barrel).GetVersion())
		set("grant_not_after", l.now.Add(10*time.Minute).UnixNano())
		for s := range m.SessionsByIMSI(p.Imsi) {
			set("session", s.Id)
			break
		}
	}
}
