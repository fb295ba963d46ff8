package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/phoneapi"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/telemetry"
)

// openTraces has spans sent to a collector, if one is configured. It is the first to
// open, so that it is the last to close.
func (g *gateway) openTraces() error {
	t := g.cfg.Telemetry.Traces
	if !t.Enabled() {
		return nil
	}
	to, err := collectorTLS(t)
	if err != nil {
		return fmt.Errorf("telemetry.traces: %w", err)
	}
	g.monitoring.traces = telemetry.NewTraces(telemetry.TracesConfig{
		Endpoint: t.Endpoint.String(), TLS: to, Headers: t.Headers, Ratio: float64(t.Ratio), Chosen: phoneapi.Chosen,
		Node: string(g.cfg.Node.Name), Version: version, Logger: g.component("traces"),
	})
	g.close = append(g.close, g.monitoring.traces.Close)
	return nil
}

// collectorTLS is for calls to the collector. Certificate and key, though not the CA,
// are read anew at each handshake.
func collectorTLS(t config.Traces) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pool, err := t.CA.Pool()
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if t.Cert != "" {
		kept := config.Kept(t.Cert, t.Key)
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return kept() }
	}
	return c, nil
}

// tracer makes spans; nil: there is no collector.
func (m *monitoring) tracer() trace.Tracer {
	if m.traces == nil {
		return nil
	}
	return m.traces.Tracer()
}

// uses makes spans of uses.
func (g *gateway) uses() phoneapi.Traces {
	return phoneapi.Traces{Tracer: g.monitoring.tracer(), Key: g.secrets.traces}
}

// Names: see docs/traces.md.
const (
	spanChange = "use.change"

	keyBy      = attribute.Key("sealedge.by")
	keyOutcome = attribute.Key("sealedge.outcome")
)

// tracing is the cluster for a part that makes no spans: what it changes of a use is
// part of the use's trace all the same.
type tracing struct {
	*cluster.Node
	traces phoneapi.Traces
	by     string // whom the part speaks for
}

func (g *gateway) tracing(by string) tracing { return tracing{g.node, g.uses(), by} }

// Propose makes a span of a change that isn't part of a trace yet.
func (f tracing) Propose(ctx context.Context, c *command.Command) (r *command.Result, err error) {
	if f.traces.Tracer == nil || trace.SpanContextFromContext(ctx).IsValid() {
		return f.Node.Propose(ctx, c)
	}
	use := changedUse(f.Node, c)
	if use == nil {
		return f.Node.Propose(ctx, c)
	}
	ctx, span := f.traces.Begin(ctx, spanChange, use)
	r, err = f.Node.Propose(ctx, c)
	if !span.IsRecording() {
		return r, err
	}
	outcome := "ok"
	if p := sealuse.FromError(err); p != nil {
		outcome = string(p.Code)
	} else if p := sealuse.FromResult(r); p != nil {
		outcome = string(p.Code)
	}
	span.SetAttributes(keyBy.String(f.by), keyOutcome.String(outcome))
	if outcome != "ok" {
		span.SetStatus(codes.Error, outcome)
	}
	span.End()
	return r, err
}

// changedUse is the use that a command changes, as far as it is known here; nil: it
// changes none.
func changedUse(records viewer, c *command.Command) (use *command.Use) {
	var p interface {
		proto.Message
		GetUse() uint64
	}
	switch c.Type {
	case command.Type_RECORD_RECEIPT:
		p = new(command.RecordReceipt)
	case command.Type_RECORD_EVIDENCE:
		p = new(command.RecordEvidence)
	case command.Type_SETTLE_USE:
		p = new(command.SettleUse)
	case command.Type_DISCONNECT:
		p = new(command.Disconnect)
	case command.Type_MARK_OVERDUE:
		p = new(command.MarkOverdue)
	case command.Type_EXPIRE_USE:
		p = new(command.ExpireUse)
	case command.Type_RELEASE_USE:
		p = new(command.ReleaseUse)
	case command.Type_CONFIRM_RELEASE:
		p = new(command.ConfirmRelease)
	case command.Type_ACK_LOCK:
		var a command.AckLock
		if proto.Unmarshal(c.Payload, &a) == nil {
			records.View(func(m *state.Machine) { use = m.Use(m.Lock(a.Lock).GetUse()) })
		}
		return use
	default:
		return nil
	}
	if proto.Unmarshal(c.Payload, p) != nil {
		return nil
	}
	records.View(func(m *state.Machine) {
		if use = m.Use(p.GetUse()); use != nil {
			return
		}
		// A disconnect may name the order alone, which has one open use as a rule.
		if d, ok := p.(*command.Disconnect); ok {
			for u := range m.UsesOfOrder(d.Order) {
				if u.State == command.UseState_RESERVED {
					use = u
					return
				}
			}
		}
	})
	return use
}
