package gtpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// oneNode is a cluster of one, without a log, that can be made to fail.
type oneNode struct {
	mu     sync.Mutex
	state  *state.Machine
	index  uint64
	before func(*command.Command) error // fails instead of applying
	after  func(*command.Command) error // fails although applied
}

func (n *oneNode) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n.before != nil {
		if err := n.before(c); err != nil {
			return nil, err
		}
	}
	n.index++
	r, _, err := n.state.Apply(n.index, 1, command.Marshal(c))
	if err == nil && n.after != nil {
		if err := n.after(c); err != nil {
			return nil, err
		}
	}
	return r, err
}

func (n *oneNode) View(fn func(*state.Machine)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(n.state)
}

func (n *oneNode) do(t testing.TB, payload proto.Message) {
	t.Helper()
	r, err := n.Propose(t.Context(), command.New("test", "", "test", payload))
	if err != nil || r.GetCode() != command.Code_OK {
		t.Fatalf("%T: %v %v", payload, r, err)
	}
}

const imsi = "460011234567890"

// site is a node with policy and a subscriber, and the procedures before it.
type site struct {
	*oneNode
	*Procedures
	log *logged
}

func newSite(t testing.TB, alter ...func(*ProceduresConfig)) *site {
	t.Helper()
	n := &oneNode{state: state.New()}
	n.do(t, &command.AcquireAddress{Name: "gw", Node: "n1"})
	n.do(t, &command.PutPolicy{Document: []byte("policy"), Pools: []*command.Pool{{
		Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 16, Excluded: [][]byte{{10, 90, 0, 1}},
	}}})
	n.do(t, &command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: imsi, Imeis: []string{"35209900176148"}, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE,
	}, AnyVersion: true})
	apn, err := ident.ParseAPN("seal.corp")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{oneNode: n, log: new(logged)}
	cfg := ProceduresConfig{
		Cluster: n, Logger: slog.New(slog.NewTextHandler(s.log, nil)),
		Gateway: session.Gateway{Name: "gw", Outer: netip.MustParseAddr("127.0.10.1"), Secret: []byte("0123456789abcdef")},
		Rules: func() *policy.Rules {
			return &policy.Rules{Revision: 1, APNs: map[ident.APN]policy.APN{apn: {
				Name: apn, GatewayAddress: netip.MustParseAddr("10.90.0.1"), DNS: []netip.Addr{netip.MustParseAddr("10.90.0.1")}, MTU: 1400, AMBRUpKbps: 50000, AMBRDownKbps: 50000,
			}}}
		},
	}
	for _, f := range alter {
		f(&cfg)
	}
	s.Procedures = NewProcedures(cfg)
	return s
}

func (s *site) handle(t testing.TB, raw []byte) []byte {
	t.Helper()
	m, err := gtp.Parse(raw)
	if m == nil {
		t.Fatal(err)
	}
	return s.Handle(t.Context(), sgw, m).Datagram
}

func (s *site) restartCounter() (counter uint8) {
	s.View(func(m *state.Machine) { counter = uint8(m.Address("gw").GetRestartCounter()) })
	return counter
}

func (s *site) sessions() int { return s.state.Counts().Sessions }

func TestAttachAndDetach(t *testing.T) {
	var prepared []uint64
	s, peer := newSite(t, func(c *ProceduresConfig) {
		c.Prepare = func(_ context.Context, s *command.Session) { prepared = append(prepared, s.GetId()) }
	}), gtptest.New()
	a := gtptest.Read(s.handle(t, peer.Create()))
	if a.Cause() != 16 || s.sessions() != 1 || len(prepared) != 1 {
		t.Fatalf("cause %d, %d sessions, prepared %v", a.Cause(), s.sessions(), prepared)
	}
	peer.Seq, peer.UserTEID = peer.Seq+1, 0x42
	if m := gtptest.Read(s.handle(t, peer.Modify(a.TEIDOf(1), true))); m.Cause() != 16 || len(prepared) != 2 {
		t.Errorf("modify: %+v, prepared %v", m, prepared)
	}
	peer.Seq++
	if d := gtptest.Read(s.handle(t, peer.Delete(a.TEIDOf(1)))); d.Cause() != 16 || s.sessions() != 0 {
		t.Errorf("delete: %+v", d)
	}
	if log := s.log.String(); strings.Contains(log, imsi) || !strings.Contains(log, "46001**********") {
		t.Errorf("the log must show the IMSI redacted: %s", log)
	}
}

// A refusal is answered at once, goes into the audit chain, and the log says
// which rule failed.
func TestRefusalIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := newSite(t), gtptest.New()
		peer.IMEI = "4920990017614823"
		before := s.state.Index()
		if a := gtptest.Read(s.handle(t, peer.Create())); a.Cause() != 93 {
			t.Errorf("%+v", a)
		}
		synctest.Wait()
		if s.state.Index() != before+1 {
			t.Error("not in the audit chain")
		}
		if log := s.log.String(); !strings.Contains(log, "handset-bound") || !strings.Contains(log, "handset-not-bound") {
			t.Errorf("reasons are not logged: %s", log)
		}
		// A storm of them doesn't fill the log of the cluster.
		for range 200 {
			peer.Seq++
			s.handle(t, peer.Create())
		}
		synctest.Wait()
		if n := s.state.Index() - before; n > 40 {
			t.Errorf("%d records of 201 refusals in no time", n)
		}
		// Without a quorum it is refused all the same.
		s.before = func(*command.Command) error { return command.ErrNoQuorum }
		peer.Seq++
		if a := gtptest.Read(s.handle(t, peer.Create())); a.Cause() != 93 {
			t.Errorf("without quorum: %+v", a)
		}
		synctest.Wait()
	})
}

func TestNoQuorum(t *testing.T) {
	s, peer := newSite(t), gtptest.New()
	s.before = func(*command.Command) error { return command.ErrNoQuorum }
	a := gtptest.Read(s.handle(t, peer.Create()))
	if a.Type != 33 || a.Cause() != 72 || a.TEID != peer.ControlTEID {
		t.Errorf("%+v", a)
	}
}

// The connection to the leader is lost after the commit: the command is
// repeated with its request id, and its result is the session's.
func TestUnknownOutcomeIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := newSite(t), gtptest.New()
		lost := 2
		s.after = func(*command.Command) error {
			if lost--; lost >= 0 {
				return command.ErrUnknownOutcome
			}
			return nil
		}
		a := gtptest.Read(s.handle(t, peer.Create()))
		if a.Cause() != 16 || s.sessions() != 1 || s.state.SessionByTEIDC(a.TEIDOf(1)) == nil {
			t.Errorf("%+v, %d sessions", a, s.sessions())
		}
	})
}

// An outcome that stays unknown is not guessed: silence, and the retransmission
// learns the truth.
func TestUnknownOutcomeIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := newSite(t), gtptest.New()
		s.after = func(*command.Command) error { return command.ErrUnknownOutcome }
		start := time.Now()
		if b := s.handle(t, peer.Create()); b != nil || time.Since(start) > 5*time.Second {
			t.Errorf("% x after %v", b, time.Since(start))
		}
		s.after = nil
		index := s.state.Index()
		a := gtptest.Read(s.handle(t, peer.Create()))
		if a.Cause() != 16 || s.sessions() != 1 || s.state.Index() != index {
			t.Errorf("%+v, %d entries more", a, s.state.Index()-index)
		}
		// The same when the time runs out within Propose.
		s.before = func(*command.Command) error { return context.DeadlineExceeded }
		peer.Seq, peer.ControlTEID = peer.Seq+1, 5
		if b := s.handle(t, peer.Create()); b != nil {
			t.Errorf("% x", b)
		}
	})
}

// What a decision was based on keeps changing: bounded, then the peer's turn.
func TestConflictIsBounded(t *testing.T) {
	revision := uint64(0)
	s, peer := newSite(t, func(c *ProceduresConfig) {
		rules := c.Rules
		c.Rules = func() *policy.Rules {
			r := *rules()
			r.Revision = revision
			return &r
		}
	}), gtptest.New()
	tries := 0
	s.before = func(*command.Command) error {
		if tries++; tries == 3 {
			revision = 1
		}
		return nil
	}
	// The third command still names the old revision, the fourth the right one.
	if a := gtptest.Read(s.handle(t, peer.Create())); a.Cause() != 16 || tries != 4 {
		t.Errorf("%+v after %d tries", a, tries)
	}
	revision, tries = 0, 3
	peer.Seq++
	if a := gtptest.Read(s.handle(t, peer.Create())); a.Cause() != 72 || a.TEID != peer.ControlTEID || tries != 3+maxAttempts {
		t.Errorf("%+v after %d tries", a, tries-3)
	}
}

// Two nodes with the same log: the peer's duplicate after the failover gets the
// same bytes from the other one.
func TestFailoverAnswersAlike(t *testing.T) {
	gtptest.Shows(t, "29.274/reliable-delivery/a-retransmission-after-a-failover")
	a, b, peer := newSite(t), newSite(t), gtptest.New()
	a.after = func(c *command.Command) error {
		_, err := b.Propose(t.Context(), proto.Clone(c).(*command.Command))
		return err
	}
	requests := [][]byte{peer.Create()}
	first := a.handle(t, requests[0])
	teid := gtptest.Read(first).TEIDOf(1)
	peer.Seq++
	peer.Restarts++
	requests = append(requests, peer.Modify(teid, true))
	peer.Seq++
	requests = append(requests, peer.Delete(teid))
	answers := [][]byte{first, a.handle(t, requests[1])}
	// Each before the next happens, as a peer would repeat it.
	for i := range 2 {
		if got := b.handle(t, requests[i]); !bytes.Equal(got, answers[i]) {
			t.Errorf("request %d: % x, want % x", i, got, answers[i])
		}
	}
	if want, got := a.handle(t, requests[2]), b.handle(t, requests[2]); !bytes.Equal(want, got) {
		t.Errorf("delete: % x, want % x", got, want)
	}
}

func TestDefaults(t *testing.T) {
	p := NewProcedures(ProceduresConfig{})
	if p.cfg.ProposeTime != 4*time.Second || p.cfg.RecordsPerSecond != 10 || p.log == nil {
		t.Errorf("%+v", p.cfg)
	}
	if err := errors.Join(command.ErrUnknownOutcome, context.Canceled); !errors.Is(err, command.ErrUnknownOutcome) {
		t.Error("join loses the outcome")
	}
}

// Waiting for a quorum may end with the request's own time: that nothing was
// carried out is certain all the same, and is answered.
func TestNoQuorumIsAnswered(t *testing.T) {
	s := newSite(t)
	s.before = func(*command.Command) error {
		return fmt.Errorf("%w (%w)", command.ErrNoQuorum, context.DeadlineExceeded)
	}
	a := gtptest.Read(s.handle(t, gtptest.New().Create()))
	if got, want := a.Cause(), uint8(gtp.CauseSystemFailure); got != want {
		t.Errorf("cause %d, want %d", got, want)
	}
}
