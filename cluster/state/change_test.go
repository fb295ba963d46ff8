package state

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// changesHold: what took several people had them, and who proposed is none of
// them; a change that waits knows what it is about; the history is bounded and
// before the policy in force.
func changesHold(m *Machine) error {
	waiting := 0
	for c := range m.Changes() {
		by := map[string]bool{c.ProposedBy: true}
		for _, a := range c.Approvals {
			if by[a.By] || a.By == "" || len(a.Signature) == 0 || a.At < c.Proposed || a.At >= c.Expires {
				return fmt.Errorf("change %v: an approval that can't be", c)
			}
			by[a.By] = true
		}
		switch {
		case c.Id > m.nextChange || c.ProposedBy == "" || (c.Policy == nil) == (c.Devices == nil) || len(c.Digest) != 32:
			return fmt.Errorf("change %v makes no sense", c)
		case c.State == command.ChangeState_IN_FORCE && len(c.Approvals) != int(c.Needed) && !c.BreakGlass:
			return fmt.Errorf("change %v came into force with %d approvals", c, len(c.Approvals))
		case c.State == command.ChangeState_IN_FORCE && (c.Revision != 0) != (c.Policy != nil):
			return fmt.Errorf("change %v: its revision", c)
		case c.State != command.ChangeState_IN_FORCE && (c.BreakGlass || c.Revision != 0):
			return fmt.Errorf("change %v isn't in force", c)
		case c.State == command.ChangeState_PENDING && len(c.Approvals) >= int(c.Needed):
			return fmt.Errorf("change %v waits for nobody", c)
		case c.ReviewedBy != "" && (c.ReviewedBy == c.ProposedBy || !c.BreakGlass):
			return fmt.Errorf("change %v: a review that can't be", c)
		}
		if m.Waits(c, m.Clock()) {
			waiting++
			if command.ChangeDigest(c.Policy, c.Devices) != [32]byte(c.Digest) {
				return fmt.Errorf("change %v has another digest than what it does", c)
			}
		}
	}
	size := 0
	for p := range m.FormerPolicies() {
		size += len(p.Document)
		if p.Revision >= m.PolicyRevision() || m.PolicyAt(p.Revision) != p {
			return fmt.Errorf("revision %d in the history of %d", p.Revision, m.PolicyRevision())
		}
	}
	if waiting > maxPending || m.changes.len() > keepChanges+2*maxPending || m.former.len() > HistoryLength || size > HistoryBytes {
		return fmt.Errorf("%d changes wait of %d, %d former revisions of %d bytes", waiting, m.changes.len(), m.former.len(), size)
	}
	return nil
}

// change does something about changes, mostly what makes sense.
func (w *world) change() proto.Message {
	m := w.log.m
	id, broken, reviewed := uint64(w.choose(int(m.nextChange)+2)), uint64(0), uint64(0)
	for c := range m.Changes() {
		if m.Waits(c, w.log.now) && w.choose(3) > 0 {
			id = c.Id
		}
		if unreviewed(c) {
			broken = c.Id
		}
		if c.ReviewedBy != "" {
			reviewed = c.Id
		}
	}
	switch w.choose(8) {
	case 0, 1, 2:
		return w.proposal()
	case 3:
		return &command.RejectChange{Change: id, Reason: w.text()}
	case 4:
		return &command.ReviewChange{Change: pick(w, broken, broken, reviewed, reviewed, id), Review: w.text()}
	}
	p := &command.ApproveChange{Change: id, Digest: m.Change(id).GetDigest()}
	if w.rarely() {
		p.Digest = []byte("another")
	}
	return p
}

func (w *world) proposal() proto.Message {
	p := &command.ProposeChange{Reason: w.text(), Needed: uint32(w.choose(3)), BreakGlass: w.choose(3) == 0}
	if p.BreakGlass && !w.rarely() {
		p.Reason, p.Needed = "fire", 1
	}
	switch w.choose(4) {
	case 0:
		p.Policy = &command.PutPolicy{Document: w.content(), Pools: w.pools()}
	case 1:
		p.Policy = &command.PutPolicy{Document: w.content(), Pools: w.pools()}
		for former := range w.log.m.FormerPolicies() {
			p.RollbackTo, p.Policy.Document = former.Revision, former.Document
		}
	default:
		p.Devices = w.devices()
	}
	return p
}

func (w *world) suspension() proto.Message {
	for s := range w.log.m.Subscribers() { // what was suspended is resumed soon, so that the rest goes on
		if s.State == command.DeviceState_SUSPENDED_DEVICE && !w.rarely() {
			return &command.ResumeDevice{Imsi: s.Imsi}
		}
	}
	for b := range w.log.m.Barrels() {
		if b.State == command.DeviceState_SUSPENDED_DEVICE && !w.rarely() {
			return &command.ResumeDevice{Barrel: b.Id}
		}
	}
	d := pick(w, &command.SuspendDevice{Imsi: w.imsi()}, &command.SuspendDevice{Barrel: w.barrel()}, &command.SuspendDevice{})
	d.Reason = w.text()
	return d
}

// The history keeps the last revisions, and not more than fits.
func TestHistoryIsBounded(t *testing.T) {
	l := newLog(t)
	l.put(&command.RaiseLevel{Level: 2})
	document := func(size int) *command.PutPolicy {
		return &command.PutPolicy{BaseRevision: l.m.PolicyRevision(), Document: []byte(strings.Repeat("x", size))}
	}
	for range HistoryLength + 5 {
		l.put(document(10))
	}
	if n := l.m.former.len(); n != HistoryLength || l.m.PolicyAt(4) != nil || l.m.PolicyAt(5) == nil || l.m.PolicyAt(105) != l.m.Policy() {
		t.Errorf("%d former revisions", n)
	}
	for range 20 {
		l.put(document(HistoryBytes / 10))
	}
	if n := l.m.former.len(); n != 10 || l.m.PolicyAt(l.m.PolicyRevision()-10) == nil {
		t.Errorf("%d large former revisions", n)
	}
}

// So many changes wait at once, and so many are kept that are over; broken glass
// that nobody reviewed is never forgotten.
func TestChangesAreBounded(t *testing.T) {
	l := newLog(t)
	l.loose = true
	devices := &command.PutDevices{Changes: []*command.DeviceChange{listed("460010000000001")}}
	propose := func(needed uint32, glass bool) *command.Result {
		return l.apply(command.New("test", "", "tester", &command.ProposeChange{
			Devices: devices, Needed: needed, BreakGlass: glass, Reason: "why", LifetimeSeconds: 60, ReviewSeconds: 3600,
		}))
	}
	if r := propose(1, true); r.Code != command.Code_OK {
		t.Fatal(r)
	}
	for range maxPending {
		if r := propose(1, false); r.Code != command.Code_OK {
			t.Fatal(r)
		}
	}
	if r := propose(1, false); r.Code != command.Code_BUSY {
		t.Errorf("one more: %v", r)
	}
	if r := propose(0, false); r.Code != command.Code_OK {
		t.Errorf("one that waits for nobody: %v", r)
	}
	l.now = l.now.Add(time.Minute) // they expire
	for range keepChanges {
		if r := propose(0, false); r.Code != command.Code_OK {
			t.Fatal(r)
		}
	}
	if err := changesHold(l.m); err != nil {
		t.Error(err)
	}
	if l.m.changes.len() != keepChanges+1 || l.m.Change(1) == nil || l.m.Change(2) != nil {
		t.Errorf("%d changes are kept", l.m.changes.len())
	}
	if r := propose(1, false); r.Code != command.Code_OK {
		t.Errorf("after they expired: %v", r)
	}
}

// A proposal that is repeated is the same one, however it is decided by then.
func TestProposalIsRepeated(t *testing.T) {
	l := newLog(t)
	l.put(&command.PutPolicy{Document: []byte("one")})
	p := &command.ProposeChange{Policy: &command.PutPolicy{BaseRevision: 1, Document: []byte("two")}, PolicyRevision: 1, Touches: []string{"reach"}}
	first := l.apply(command.New("c", "r", "ann", p))
	p.PolicyRevision, p.Needed, p.LifetimeSeconds, p.Touches, p.Effects = 2, 1, 60, nil, []string{"1 terminal"}
	again := l.apply(command.New("c", "r", "ann", p))
	if first.Code != command.Code_OK || !proto.Equal(first, again) {
		t.Errorf("%v, then %v", first, again)
	}
	p.Policy.Document = []byte("three")
	if r := l.apply(command.New("c", "r", "ann", p)); r.Code != command.Code_INVALID {
		t.Errorf("another document: %v", r)
	}
}

// Answers hold neither documents nor devices: they are remembered.
func TestAnswersAreBrief(t *testing.T) {
	l := newLog(t)
	secret := bytes.Repeat([]byte("s"), 1000)
	l.put(&command.PutPolicy{Document: []byte("one")})
	r := l.put(&command.ProposeChange{
		Policy: &command.PutPolicy{BaseRevision: 1, Document: secret}, PolicyRevision: 1, Needed: 1, LifetimeSeconds: 60,
	})
	c := new(command.Change)
	if err := r.Into(c); err != nil || c.Policy.GetBaseRevision() != 1 || len(c.Policy.Document) != 0 {
		t.Errorf("%v %v", c, err)
	}
	if kept := l.m.Change(1); !bytes.Equal(kept.Policy.Document, secret) {
		t.Error("the change that waits has lost its document")
	}
}

// TestUnderARevision: what one person may do alone by one revision of the policy is
// not done under the next, which may ask for two.
func TestUnderARevision(t *testing.T) {
	l := newLog(t)
	put := func(revision uint64, request string) *command.Result {
		c := command.New("admin:li", request, "operator:li", &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460010000000001", State: command.DeviceState_ACTIVE}, AnyVersion: true})
		return l.apply(c.Under(revision))
	}
	l.put(&command.PutPolicy{})
	if r := put(1, "a"); r.Code != command.Code_OK {
		t.Fatalf("under the revision in force: %v", r)
	}
	l.put(&command.PutPolicy{BaseRevision: 1})
	if r := put(1, "b"); r.Code != command.Code_CONFLICT || l.m.Subscriber("460010000000001").Version != 1 {
		t.Errorf("under a former revision: %v", r)
	}
	if r := put(1, "a"); r.Code != command.Code_OK {
		t.Errorf("a repeated request: %v", r)
	}
	if r := put(2, "b"); r.Code != command.Code_OK || l.m.Subscriber("460010000000001").Version != 2 {
		t.Errorf("decided once more: %v", r)
	}
}
