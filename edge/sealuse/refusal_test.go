package sealuse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// Every refusal of a seal use: what was wrong, the code, and words that name
// it.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*stage, *wire.UseRequest, *wire.VerifyAnswer)
		from  netip.Addr
		code  wire.Code
		words string
		alarm bool
	}{
		{name: "address without a session", from: netip.MustParseAddr("10.90.7.7"), code: wire.CodeTerminalUnknown},
		{name: "sent from another terminal", from: usetest.Address(usetest.Other), code: wire.CodeAddressMismatch, words: "10.90.0.11"},
		{
			name:  "another terminal's address",
			spoil: func(_ *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.TerminalAddress = "10.90.0.12" },
			code:  wire.CodeAddressMismatch, words: "10.90.0.12",
		},
		{
			name:  "server not on the list",
			spoil: func(_ *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.ServerAddress = "evil.example:8443" },
			code:  wire.CodeServerNotAllowed, words: "evil.example",
		},
		{
			name:  "clock ahead",
			spoil: func(s *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.Time = s.now.Add(3 * time.Minute) },
			code:  wire.CodeClockSkew, words: "08:03:00",
		},
		{
			name:  "clock behind",
			spoil: func(s *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.Time = s.now.Add(-3 * time.Minute) },
			code:  wire.CodeClockSkew, words: "07:57:00",
		},
		{
			name:  "barrel not on the list",
			spoil: func(_ *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.Barrel = "SB-9999" },
			code:  wire.CodeBarrelNotBound,
		},
		{
			name:  "barrel in nobody's hands",
			spoil: func(_ *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.Barrel = usetest.Spare },
			code:  wire.CodeBarrelNotBound,
		},
		{
			name:  "another terminal's barrel",
			spoil: func(_ *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.Barrel = usetest.OtherBarrel },
			code:  wire.CodeBarrelNotBound,
		},
		{
			name:  "barrel for another seal",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.SealType = "finance" },
			code:  wire.CodeBarrelNotBound, words: "finance",
		},
		{
			name:  "barrel not heard from",
			spoil: func(s *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { s.dead[r.Barrel] = true },
			code:  wire.CodeBarrelOffline, words: usetest.Barrel,
		},
		{
			name:  "no policy",
			spoil: func(s *stage, _ *wire.UseRequest, _ *wire.VerifyAnswer) { s.rules = nil },
			code:  wire.CodeNoPolicy,
		},
		{
			name: "order not known to the server",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) {
				*a = wire.VerifyAnswer{Code: wire.CodeOrderUnknown, Reason: "no order of that number is yours"}
			},
			code: wire.CodeOrderUnknown, words: "no order of that number is yours",
		},
		{
			name: "order not open, says the server",
			spoil: func(s *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) {
				*a = wire.VerifyAnswer{Code: wire.CodeOrderNotOpen, Reason: "too early", NotBefore: s.now.Add(time.Hour), NotAfter: s.now.Add(2 * time.Hour)}
			},
			code: wire.CodeOrderNotOpen, words: "2026-11-22T09:00:00Z to 2026-11-22T10:00:00Z",
		},
		{
			name: "order not open, says the window",
			spoil: func(s *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) {
				a.NotBefore, a.NotAfter = s.now.Add(time.Hour), s.now.Add(2*time.Hour)
			},
			code: wire.CodeOrderNotOpen, words: "2026-11-22T09:00:00Z",
		},
		{
			name:  "more asked than the order has",
			spoil: func(_ *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) { r.Count = 3 },
			code:  wire.CodeOrderExhausted, words: "3 stampings were asked for; of 2 permitted, 2",
		},
		{
			name:  "used up elsewhere, as the server knows",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.Used = 2 },
			code:  wire.CodeOrderExhausted,
		},
		{
			name: "order suspended",
			spoil: func(s *stage, _ *wire.UseRequest, _ *wire.VerifyAnswer) {
				s.Do(&command.SuspendOrder{Order: usetest.Order, Reason: "the applicant has left"})
			},
			code: wire.CodeOrderSuspended, words: "the applicant has left",
		},
		{
			name: "order ended",
			spoil: func(s *stage, _ *wire.UseRequest, _ *wire.VerifyAnswer) {
				s.Do(&command.Disconnect{SourceId: "d0", Order: usetest.Order, Reason: "wrong page"})
			},
			code: wire.CodeOrderNotOpen, words: "wrong page",
		},
		{
			name:  "weaker level than policy",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.Level = 2 },
			code:  wire.CodeLevelNotMet, words: "level 2", alarm: true,
		},
		{
			name:  "fewer methods than policy",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.Methods = []string{wire.MethodFace} },
			code:  wire.CodeLevelNotMet, words: "[face]", alarm: true,
		},
		{
			name:  "more stampings than policy",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.Count = 6 },
			code:  wire.CodeLevelNotMet, words: "6 stampings", alarm: true,
		},
		{
			name:  "longer window than policy",
			spoil: func(s *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.NotAfter = s.now.Add(30 * time.Hour) },
			code:  wire.CodeLevelNotMet, words: "window", alarm: true,
		},
		{
			name: "server refused",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) {
				*a = wire.VerifyAnswer{Reason: "the approver withdrew\r\nX-Injected: 1"}
			},
			code: wire.CodeServerRefused, words: "the approver withdrew  X-Injected: 1",
		},
		{
			name: "server refused without a word",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) {
				*a = wire.VerifyAnswer{Code: wire.CodeNoQuorum} // not the server's to say
			},
			code: wire.CodeServerRefused, words: "no reason",
		},
		{
			name:  "server names no user",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.User = "" },
			code:  wire.CodeServerRefused, alarm: true,
		},
		{
			name:  "server gives half a digest",
			spoil: func(_ *stage, _ *wire.UseRequest, a *wire.VerifyAnswer) { a.DocumentDigest = []byte{1} },
			code:  wire.CodeServerRefused, alarm: true,
		},
		{
			name: "barrel has another use",
			spoil: func(s *stage, r *wire.UseRequest, _ *wire.VerifyAnswer) {
				s.granted()
				r.RequestID, r.Order = "r2", "WO-2026-002"
			},
			code: wire.CodeBarrelBusy, words: "Use 1",
		},
		{
			name: "no quorum",
			spoil: func(s *stage, _ *wire.UseRequest, _ *wire.VerifyAnswer) {
				s.Fail(fmt.Errorf("propose: %w", command.ErrNoQuorum))
			},
			code: wire.CodeNoQuorum,
		},
		{
			name:  "answer lost",
			spoil: func(s *stage, _ *wire.UseRequest, _ *wire.VerifyAnswer) { s.LoseAnswer() },
			code:  wire.CodeOutcomeUnknown,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			req, answer, from := usetest.Request("r1", s.now), usetest.Answer(s.now), c.from
			if !from.IsValid() {
				from = usetest.Address(usetest.Terminal)
			}
			if c.spoil != nil {
				c.spoil(s, &req, &answer)
			}
			would, check := s.check(from, req, answer)
			use, step := s.request(from, req, answer)
			if retry := c.code == wire.CodeNoQuorum || c.code == wire.CodeOutcomeUnknown; !retry && (check.Refusal == nil || check.Refusal.Code != c.code || (check.Alarm != "") != c.alarm || would.Count != 0) {
				t.Errorf("a check says %+v, %+v", would, check)
			}
			if use != nil || step.Refusal == nil || step.Refusal.Code != c.code {
				t.Fatalf("got %v, %v; want %s", use, step.Refusal, c.code)
			}
			p := step.Refusal
			if !strings.Contains(p.Detail, c.words) || p.Hint == "" {
				t.Errorf("it says %q and %q; want %q in it, and what to do", p.Detail, p.Hint, c.words)
			}
			if (step.Alarm != "") != c.alarm {
				t.Errorf("alarm %q, want one: %v", step.Alarm, c.alarm)
			}
			if retry := c.code == wire.CodeNoQuorum || c.code == wire.CodeOutcomeUnknown; (p.RetryAfterSeconds > 0) != retry {
				t.Errorf("retry after %d s", p.RetryAfterSeconds)
			}
		})
	}
}

// The session ends, or the server is slow and things change, between screening
// and the answer: nothing is granted on what was true before.
func TestPermitLooksAgain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stage)
		code   wire.Code
	}{
		"revoked":        {func(s *stage) { s.Do(&command.RevokeSubscriber{Imsi: usetest.Terminal, Reason: "lost"}) }, wire.CodeTerminalUnknown},
		"barrel went":    {func(s *stage) { s.dead[usetest.Barrel] = true }, wire.CodeBarrelOffline},
		"barrel revoked": {func(s *stage) { s.Do(&command.RevokeBarrel{Id: usetest.Barrel, Reason: "stolen"}) }, wire.CodeBarrelNotBound},
		"time went by":   {func(s *stage) { s.now = s.now.Add(5 * time.Minute) }, wire.CodeClockSkew},
	} {
		s := newStage(t)
		ask := s.parse(usetest.Request("r1", s.now))
		from := usetest.Address(usetest.Terminal)
		if step := sealuse.Screen(s.gather(from, ask), s.rules, ask); step.Refusal != nil {
			t.Fatal(step.Refusal)
		}
		answer := usetest.Answer(s.now)
		c.change(s)
		if use, step := s.permit(from, ask, answer); use != nil || step.Refusal == nil || step.Refusal.Code != c.code {
			t.Errorf("%s: %v, %v; want %s", name, use, step.Refusal, c.code)
		}
	}
}

func TestParse(t *testing.T) {
	for field, spoil := range map[string]func(*wire.UseRequest){
		"request_id":       func(r *wire.UseRequest) { r.RequestID = "" },
		"request_id:":      func(r *wire.UseRequest) { r.RequestID = strings.Repeat("x", 65) },
		"request_id: want": func(r *wire.UseRequest) { r.RequestID = "a/b" },
		"terminal_address": func(r *wire.UseRequest) { r.TerminalAddress = "phone" },
		"server_address":   func(r *wire.UseRequest) { r.ServerAddress = "" },
		"time":             func(r *wire.UseRequest) { r.Time = time.Time{} },
		"order":            func(r *wire.UseRequest) { r.Order = "WO 1" },
		"barrel":           func(r *wire.UseRequest) { r.Barrel = "" },
	} {
		req := usetest.Request("r1", start)
		spoil(&req)
		if _, bad := sealuse.Parse(req); bad == nil || bad.Code != wire.CodeBadRequest || !strings.HasPrefix(bad.Detail, field) {
			t.Errorf("%s: %v, want it named", field, bad)
		}
	}
	req := usetest.Request("r1", start)
	req.TerminalAddress, req.Barrel = "::ffff:10.90.0.11", "sb-0001"
	if ask, bad := sealuse.Parse(req); bad != nil || ask.TerminalAddress != usetest.Address(usetest.Terminal) || ask.Barrel.String() != usetest.Barrel {
		t.Errorf("other ways of writing: %+v, %v", ask, bad)
	}
}

// Whatever the JSON of a request says, Parse refuses it with a field's name or
// gives parts that read back the same, and that a command can carry.
func FuzzParse(f *testing.F) {
	for _, spoil := range []func(*wire.UseRequest){
		func(*wire.UseRequest) {},
		func(r *wire.UseRequest) { r.TerminalAddress = "fe80::1%eth0" },
		func(r *wire.UseRequest) { r.Order, r.Count = "WO/1.2_3", 7 },
	} {
		req := usetest.Request("r1", start)
		spoil(&req)
		b, err := json.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"request_id":"\ud800","order":"\u0000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req wire.UseRequest
		if wire.DecodeRequest(bytes.NewReader(b), &req) != nil {
			return
		}
		ask, bad := sealuse.Parse(req)
		if bad != nil {
			if bad.Code != wire.CodeBadRequest || bad.Detail == "" {
				t.Fatalf("%s: %v", b, bad)
			}
			return
		}
		again, bad := sealuse.Parse(wire.UseRequest{
			RequestID: ask.RequestID, TerminalAddress: ask.TerminalAddress.String(), ServerAddress: ask.ServerAddress,
			Time: ask.Time, Order: ask.Order.String(), Barrel: ask.Barrel.String(), Count: ask.Count,
		})
		if bad != nil || again != ask {
			t.Fatalf("%s: %+v reads back as %+v, %v", b, ask, again, bad)
		}
		command.New(sealuse.ClientID(usetest.Terminal), ask.RequestID, "user:x", &command.ReserveUses{Order: ask.Order.String(), Barrel: ask.Barrel.String()})
	})
}

func TestErrorsAndResultsAreMapped(t *testing.T) {
	own := wire.NewProblem(wire.CodeServerUnreachable, "x")
	for want, err := range map[wire.Code]error{
		wire.CodeServerUnreachable: fmt.Errorf("verify: %w", own),
		wire.CodeNoQuorum:          command.ErrNoQuorum,
		wire.CodeOutcomeUnknown:    context.DeadlineExceeded,
		wire.CodeInternal:          errors.New("something with a secret in it"),
	} {
		if p := sealuse.FromError(err); p.Code != want || strings.Contains(p.Error(), "secret") {
			t.Errorf("%v is %v, want %s", err, p, want)
		}
	}
	if sealuse.FromError(nil) != nil || sealuse.FromResult(&command.Result{Code: command.Code_OK}) != nil {
		t.Error("success is a problem")
	}
	seen := map[wire.Code]command.Code{}
	for code := range command.Code_name {
		c := command.Code(code)
		p := sealuse.FromResult(&command.Result{Code: c, Message: "why"})
		if c == command.Code_OK {
			continue
		}
		if p == nil || p.Detail != "Why." {
			t.Errorf("%v is %v", c, p)
			continue
		}
		if other, twice := seen[p.Code]; twice && p.Code != wire.CodeInternal {
			t.Errorf("%v and %v are both %s", c, other, p.Code)
		}
		seen[p.Code] = c
	}
}
