package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// spanKind is one kind of span, as it is exported and documented.
type spanKind struct {
	name       string
	parents    []string // none: it begins a trace
	attributes []string
	help       string
}

// spanKinds lists the spans that the node makes, in the order of docs/traces.md. What
// isn't here isn't exported: see screen.
var spanKinds = []spanKind{
	{"gtp.request", nil, []string{"gtp.version", "gtp.procedure", "gtp.cause", "gtp.carrier", "sealedge.session"}, "A carrier's request, from its arrival until its answer was sent: an attach is a create-session or create-pdp-context."},
	{"gtp.wait", []string{"gtp.request"}, nil, "It waited for somebody to carry it out."},
	{"session.authenticate", []string{"gtp.request"}, nil, "Its password was checked."},
	{"session.decide", []string{"gtp.request"}, []string{"sealedge.attempt", "sealedge.outcome"}, "Policy and procedure decided on it. Another attempt follows where what it was decided upon had changed."},
	{"tunnel.program", []string{"gtp.request"}, nil, "The user plane of this node was set to the session."},
	{"gtp.answer", []string{"gtp.request"}, nil, "The answer waited to be sent, and was."},

	{"use.request", nil, []string{"sealedge.outcome", "sealedge.use"}, "A terminal's request for a use. A request that is repeated begins the same trace again."},
	{"use.check", nil, []string{"sealedge.outcome"}, "A terminal asked what a use would be granted; nothing is reserved."},
	{"use.screen", []string{"use.request", "use.check"}, []string{"sealedge.outcome"}, "Whether the request may be put to the seal server."},
	{"use.verify", []string{"use.request", "use.check"}, []string{"sealedge.outcome"}, "The seal server was asked."},
	{"use.decide", []string{"use.request", "use.check"}, []string{"sealedge.attempt", "sealedge.outcome"}, "Policy decided on the seal server's answer."},
	{"use.grant", []string{"use.request"}, []string{"sealedge.use"}, "The grant was made and signed. All that happens to the use later has this span for its parent, on whichever node it happens."},
	{"use.receipt", []string{"use.grant"}, []string{"sealedge.outcome", "sealedge.use"}, "The terminal brought the barrel's receipt of a stamping."},
	{"use.evidence", []string{"use.grant"}, []string{"sealedge.outcome", "sealedge.use"}, "The terminal sent a piece of an image, or all of it."},
	{"use.store", []string{"use.evidence"}, []string{"sealedge.outcome"}, "The piece went on to the seal server."},
	{"use.settlement", []string{"use.grant"}, []string{"sealedge.outcome", "sealedge.use"}, "The terminal brought the barrel's statement, which settles the use."},
	{"use.acknowledge", []string{"use.grant"}, []string{"sealedge.outcome", "sealedge.use"}, "The terminal acknowledged a lock."},
	{"use.change", []string{"use.grant"}, []string{"sealedge.by", "sealedge.outcome", "sealedge.use"}, "Somebody else changed the use: barrel (over its own connection), seal-server (a disconnect), operator, or gateway (its time was over)."},
	{"use.report", []string{"use.grant"}, []string{"sealedge.outcome", "sealedge.use"}, "The settled use was reported to the seal server. A node that begins to lead reports again."},

	{"cluster.propose", []string{"gtp.request", "use.request", "use.receipt", "use.evidence", "use.settlement", "use.acknowledge", "use.change"}, []string{"cluster.command", "cluster.result", "sealedge.outcome"}, "A change was proposed, until this node shows it."},
	{"cluster.forward", []string{"cluster.propose"}, []string{"cluster.leader", "sealedge.outcome"}, "This node doesn't lead, and asked the node that does."},
	{"cluster.lead", []string{"cluster.propose", "cluster.forward"}, []string{"sealedge.outcome"}, "On the leader: until a majority had it in its log, and the leader applied it."},
	{"cluster.apply", []string{"cluster.lead"}, nil, "On the leader: it was applied, together with what was committed with it, and its audit written."},
	{"cluster.catch-up", []string{"cluster.propose"}, nil, "This node waited until it had applied what the leader had."},
}

// attributeKind is one kind of attribute.
type attributeKind struct {
	key  attribute.Key
	kind attribute.Type
	help string
}

// attributeKinds lists the attributes of spans. None of them can name a subscriber,
// terminal, barrel, order, person or IP address.
var attributeKinds = []attributeKind{
	{"gtp.version", attribute.INT64, "1 or 2."},
	{"gtp.procedure", attribute.STRING, "As in `sealedge_gtp_procedures_total`; `type-` and a number for what no gateway is asked."},
	{"gtp.cause", attribute.STRING, "Of the answer (TS 29.274 8.4); `none`: there was no answer."},
	{"gtp.carrier", attribute.STRING, "As in the policy, or `unnamed`."},
	{"sealedge.session", attribute.INT64, "The session's number in the cluster: see `sealctl session`."},
	{"sealedge.use", attribute.INT64, "The use's number, by which all spans of a use are found: see `sealctl use`."},
	{"sealedge.attempt", attribute.INT64, "From 1."},
	{"sealedge.outcome", attribute.STRING, "`ok`, or the code of what went wrong."},
	{"sealedge.by", attribute.STRING, "`barrel`, `seal-server`, `operator` or `gateway`."},
	{"cluster.command", attribute.STRING, "What was proposed, such as `OPEN_SESSION`."},
	{"cluster.result", attribute.STRING, "What carrying it out came to: `OK`, or why it changed nothing."},
	{"cluster.leader", attribute.STRING, "The name of the node that was asked."},
}

var (
	spanNames  = map[string]bool{}
	attributes = map[attribute.Key]attribute.Type{}
)

func init() {
	for _, s := range spanKinds {
		spanNames[s.name] = true
	}
	for _, a := range attributeKinds {
		attributes[a.key] = a.kind
	}
}

// screened is a span as it leaves the node: nothing in it that isn't documented, and
// no text that could name somebody. The parts of the node put no such thing into spans;
// this is the second lock.
type screened struct {
	sdk.ReadOnlySpan
	attributes []attribute.KeyValue
	status     sdk.Status
}

// screen is false for a span that isn't to leave at all.
func screen(s sdk.ReadOnlySpan) (screened, bool) {
	out := screened{ReadOnlySpan: s, status: s.Status()}
	for _, a := range s.Attributes() {
		kind, known := attributes[a.Key]
		if !known || a.Value.Type() != kind {
			continue
		}
		if kind == attribute.STRING && !words(a.Value.AsString()) {
			a.Value = attribute.StringValue(merged)
		}
		out.attributes = append(out.attributes, a)
	}
	if !words(out.status.Description) {
		out.status.Description = merged
	}
	return out, spanNames[s.Name()]
}

// Attributes implements sdk.ReadOnlySpan.
func (s screened) Attributes() []attribute.KeyValue { return s.attributes }

// Status implements sdk.ReadOnlySpan.
func (s screened) Status() sdk.Status { return s.status }

// Events implements sdk.ReadOnlySpan: there are none.
func (s screened) Events() []sdk.Event { return nil }

// Links implements sdk.ReadOnlySpan: there are none.
func (s screened) Links() []sdk.Link { return nil }
