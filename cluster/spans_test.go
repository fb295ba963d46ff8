package cluster

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealedge/sealedge/cluster/command"
)

// recorders has every node of a cluster make spans, each for itself.
func recorders(of map[string]*tracetest.SpanRecorder) func(*Config) {
	return func(cfg *Config) {
		r := tracetest.NewSpanRecorder()
		of[cfg.NodeName] = r
		cfg.Tracer = sdk.NewTracerProvider(sdk.WithSpanProcessor(r)).Tracer("test")
	}
}

// root begins a trace at a node, and has propose happen in it.
func root(n *Node, propose func(ctx context.Context)) trace.SpanContext {
	ctx, span := n.cfg.Tracer.Start(context.Background(), "root")
	defer span.End()
	propose(ctx)
	return span.SpanContext()
}

// of finds the only span of a name in a trace.
func of(r *tracetest.SpanRecorder, id trace.TraceID, name string) (found sdk.ReadOnlySpan, err error) {
	for _, s := range r.Ended() {
		if s.SpanContext().TraceID() == id && s.Name() == name {
			if found != nil {
				return nil, fmt.Errorf("there is more than one %s", name)
			}
			found = s
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no %s", name)
	}
	return found, nil
}

func attributesOf(s sdk.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// TestTraceOfAProposal: who proposes at a node that doesn't lead finds in his trace
// what the leader did, and nothing of the trace is in the log.
func TestTraceOfAProposal(t *testing.T) {
	t.Parallel()
	by := map[string]*tracetest.SpanRecorder{}
	c := newTestCluster(t, 3, recorders(by))
	c.awaitJoined()
	var ids [][]byte
	insist(t, func() error {
		leader, n := c.leader(), c.follower()
		var err error
		sc := root(n, func(ctx context.Context) { _, err = n.Propose(ctx, put("001010000000001", "")) })
		if err != nil {
			return err
		}
		id, span := sc.TraceID(), sc.SpanID()
		switch forward, err := of(by[n.cfg.NodeName], id, spanForward); {
		case err != nil:
			return err // it leads now, or was not answered at once
		case attributesOf(forward)["cluster.leader"] != leader.cfg.NodeName:
			return errors.New("another node led")
		}
		ids = append(ids, id[:], span[:], []byte(id.String()))
		parent := map[string]trace.SpanID{spanPropose: span}
		for _, want := range []struct {
			node, name, parent string
			kind               trace.SpanKind
			attributes         map[string]string
		}{
			{n.cfg.NodeName, spanPropose, "", trace.SpanKindInternal, map[string]string{"cluster.command": "PUT_SUBSCRIBER", "cluster.result": "OK", "sealedge.outcome": "ok"}},
			{n.cfg.NodeName, spanForward, spanPropose, trace.SpanKindClient, map[string]string{"cluster.leader": leader.cfg.NodeName, "sealedge.outcome": "ok"}},
			{leader.cfg.NodeName, spanLead, spanForward, trace.SpanKindServer, map[string]string{"sealedge.outcome": "ok"}},
			{leader.cfg.NodeName, spanApply, spanLead, trace.SpanKindInternal, map[string]string{}},
			{n.cfg.NodeName, spanCatchUp, spanPropose, trace.SpanKindInternal, map[string]string{}},
		} {
			s, err := of(by[want.node], id, want.name)
			if err != nil {
				return fmt.Errorf("%s: %w", want.node, err)
			}
			if want.parent != "" && s.Parent().SpanID() != parent[want.parent] || want.parent == "" && s.Parent().SpanID() != span {
				t.Errorf("%s isn't under %s", want.name, want.parent)
			}
			if s.SpanKind() != want.kind || fmt.Sprint(attributesOf(s)) != fmt.Sprint(want.attributes) || s.Status().Code != codes.Unset {
				t.Errorf("%s: %v, %v, %v", want.name, s.SpanKind(), attributesOf(s), s.Status())
			}
			if s.EndTime().Before(s.StartTime()) {
				t.Errorf("%s ends before it begins", want.name)
			}
			parent[want.name] = s.SpanContext().SpanID()
			sid := s.SpanContext().SpanID()
			ids = append(ids, sid[:])
		}
		return nil
	})
	c.sameState()
	for _, n := range c.nodes {
		if err := n.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, _ := n.logs.FirstIndex()
		last, _ := n.logs.LastIndex()
		for i := max(first, 1); i <= last; i++ {
			var l raft.Log
			if err := n.logs.GetLog(i, &l); err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if bytes.Contains(l.Data, id) || bytes.Contains(l.Extensions, id) {
					t.Errorf("entry %d of %s has %s of a trace in it", i, n.cfg.NodeName, hex.EncodeToString(id))
				}
			}
		}
	}

	// On the leader itself nothing is forwarded.
	insist(t, func() error {
		n := c.leader()
		var err error
		sc := root(n, func(ctx context.Context) { _, err = n.Propose(ctx, put("001010000000002", "")) })
		if err != nil {
			return err
		}
		lead, err := of(by[n.cfg.NodeName], sc.TraceID(), spanLead)
		if err != nil {
			return err // it leads no more
		}
		propose, err := of(by[n.cfg.NodeName], sc.TraceID(), spanPropose)
		if err != nil || lead.Parent().SpanID() != propose.SpanContext().SpanID() || lead.SpanKind() != trace.SpanKindInternal {
			t.Errorf("%s is under %v, %v", spanLead, lead.Parent().SpanID(), err)
		}
		return nil
	})
}

// TestNothingIsTracedBySelf: what no trace leads to makes no spans, though the node
// proposes much by itself.
func TestNothingIsTracedBySelf(t *testing.T) {
	t.Parallel()
	by := map[string]*tracetest.SpanRecorder{}
	c := newTestCluster(t, 3, recorders(by))
	c.awaitJoined()
	mustPropose(t, c.follower(), put("001010000000001", ""))
	unsampled := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	insist(t, func() error {
		_, err := c.follower().Propose(unsampled, put("001010000000002", ""))
		return err
	})
	for name, r := range by {
		if all := r.Started(); len(all) > 0 {
			t.Errorf("%s made %s", name, all[0].Name())
		}
	}
}

// TestTraceAndAnOlderLeader: a leader from before there were traces in frames gets
// none, and carries out what it is asked over one connection.
func TestTraceAndAnOlderLeader(t *testing.T) {
	t.Parallel()
	by := map[string]*tracetest.SpanRecorder{}
	c := newTestCluster(t, 3, recorders(by), func(cfg *Config) { cfg.untraced = true })
	c.awaitJoined()
	insist(t, func() error {
		leader, n := c.leader(), c.follower()
		mustPropose(t, n, put("001010000000001", "")) // there is a connection
		conn := n.forwards.to(Peer{Name: leader.cfg.NodeName, Address: leader.cfg.Listen})
		for i := range 5 {
			var err error
			sc := root(n, func(ctx context.Context) { _, err = n.Propose(ctx, put(fmt.Sprintf("00101%010d", i+2), "")) })
			if err != nil {
				return err
			}
			forward, err := of(by[n.cfg.NodeName], sc.TraceID(), spanForward)
			if err != nil {
				return err // another leads now
			}
			if attributesOf(forward)["sealedge.outcome"] != "ok" {
				return errors.New("it was not forwarded at once")
			}
			if _, err := of(by[leader.cfg.NodeName], sc.TraceID(), spanLead); err == nil {
				t.Error("the older leader knows of the trace")
			}
		}
		if c.leader() == leader && n.forwards.to(Peer{Name: leader.cfg.NodeName, Address: leader.cfg.Listen}) != conn {
			return errors.New("the connection was dropped")
		}
		return nil
	})
	c.sameState()
}

// TestTraceOfARefusal: the span says what kept the command from being carried out.
func TestTraceOfARefusal(t *testing.T) {
	t.Parallel()
	by := map[string]*tracetest.SpanRecorder{}
	c := newTestCluster(t, 3, recorders(by), func(cfg *Config) {
		cfg.applies = 1 // so that newer commands are refused
		cfg.ApplyTimeout = time.Second
	})
	c.awaitJoined()
	insist(t, func() error {
		n := c.follower()
		var err error
		sc := root(n, func(ctx context.Context) { _, err = n.Propose(ctx, newer()) })
		if !errors.Is(err, command.ErrLevel) {
			return fmt.Errorf("%w", errors.Join(err, errors.New("not refused for its level")))
		}
		for name, want := range map[string]string{spanPropose: "level", spanForward: "refused"} {
			s, err := of(by[n.cfg.NodeName], sc.TraceID(), name)
			if err != nil {
				return err
			}
			if got := attributesOf(s)["sealedge.outcome"]; got != want || s.Status().Code != codes.Error || s.Status().Description != want {
				return fmt.Errorf("%s: %s, %v", name, got, s.Status())
			}
		}
		return nil
	})
	n := c.follower()
	for _, name := range c.names {
		if name != n.cfg.NodeName {
			c.stop(name)
		}
	}
	var err error
	sc := root(n, func(ctx context.Context) { _, err = n.Propose(ctx, put("001010000000009", "")) })
	s, missing := of(by[n.cfg.NodeName], sc.TraceID(), spanPropose)
	if missing != nil {
		t.Fatal(missing)
	}
	if got := attributesOf(s)["sealedge.outcome"]; err == nil || got != outcomeOf(err) || s.Status().Code != codes.Error {
		t.Errorf("without a quorum: %v, %s, %v", err, got, s.Status())
	}
}

func TestTracedFrame(t *testing.T) {
	sampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 15: 2}, SpanID: trace.SpanID{3, 7: 4}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(t.Context(), sampled)
	plain := question{raw: []byte("command")}.frame(ctx, 3)
	f := plain.traced(ctx)
	if f.kind != frameTraced || f.id != 3 || !bytes.HasSuffix(f.body, []byte("command")) {
		t.Fatalf("%+v", f)
	}
	within, back, ok := f.untraced(t.Context())
	got := trace.SpanContextFromContext(within)
	if !ok || back.kind != framePropose || back.id != 3 || !bytes.Equal(back.body, plain.body) {
		t.Errorf("%+v came back as %+v, %v", plain, back, ok)
	}
	if got.TraceID() != sampled.TraceID() || got.SpanID() != sampled.SpanID() || !got.IsSampled() || !got.IsRemote() {
		t.Errorf("%+v came back as %+v", sampled, got)
	}
	for cut := range len(f.body) - len("command") + 1 {
		if _, _, ok := (frame{kind: frameTraced, body: f.body[:cut]}).untraced(t.Context()); ok {
			t.Errorf("%d bytes are taken", cut)
		}
	}
	for name, f := range map[string]frame{
		"no trace":                   plain.traced(t.Context()),
		"a trace that isn't sampled": plain.traced(trace.ContextWithSpanContext(t.Context(), sampled.WithTraceFlags(0))),
		"a barrier":                  question{}.frame(ctx, 3).traced(ctx),
	} {
		if f.kind == frameTraced {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// What isn't traced costs nothing.
func TestNoTraceCostsNothing(t *testing.T) {
	off := &Node{}
	on := &Node{cfg: Config{Tracer: sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())).Tracer("test")}}
	unsampled, span := on.cfg.Tracer.Start(t.Context(), "root")
	defer span.End()
	f := question{raw: []byte("command")}.frame(t.Context(), 3)
	out := []any{applied{}}
	for name, try := range map[string]func(){
		"off": func() {
			ctx, span := off.span(unsampled, spanPropose)
			off.tellApplied(ctx, nil)
			span.End()
		},
		"not part of a trace": func() {
			ctx, span := on.span(t.Context(), spanPropose)
			_ = f.traced(ctx)
			span.End()
		},
		"not sampled": func() {
			ctx, span := on.span(unsampled, spanLead)
			_ = f.traced(ctx)
			span.End()
		},
	} {
		if n := testing.AllocsPerRun(100, try); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	during(out, time.Now())
	if out[0].(applied).during == nil {
		t.Error("it isn't said when it was applied")
	}
}
