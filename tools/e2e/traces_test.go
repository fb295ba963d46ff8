package e2e

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/e2e/people"
)

// collector takes traces as OpenTelemetry's does (OTLP over HTTP).
type collector struct {
	t *testing.T

	mu    sync.Mutex
	spans []span // guarded by mu
	raw   []byte // guarded by mu: all that came, unpacked
	hangs bool   // guarded by mu: it takes requests and answers none
	stuck int    // guarded by mu: those
}

// span is one that came, of a node.
type span struct {
	*otlp.Span
	node string
}

func (s span) id() string     { return hex.EncodeToString(s.SpanId) }
func (s span) parent() string { return hex.EncodeToString(s.ParentSpanId) }
func (s span) trace() string  { return hex.EncodeToString(s.TraceId) }

// attributes are those of a span, as text.
func (s span) attributes() map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		if all[a.Key] = a.Value.GetStringValue(); all[a.Key] == "" {
			all[a.Key] = fmt.Sprint(a.Value.GetIntValue())
		}
	}
	return all
}

// collector listens in the site's network.
func (s *site) collector() (c *collector, endpoint string) {
	s.Helper()
	l, err := net.Listen("tcp", s.ip(3, 1).String()+":4318")
	if err != nil {
		s.Fatal(err)
	}
	c = &collector{t: s.T}
	srv := &http.Server{Handler: c}
	go func() { _ = srv.Serve(l) }()
	s.Cleanup(func() { _ = srv.Close() })
	return c, "http://" + l.Addr().String()
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	zip, err := gzip.NewReader(r.Body)
	if err != nil {
		c.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return
	}
	raw, err := io.ReadAll(zip)
	data := new(otlp.TracesData)
	if err = errors.Join(err, proto.Unmarshal(raw, data)); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
	}
	c.mu.Lock()
	c.raw = append(c.raw, raw...)
	hangs := c.hangs
	if hangs {
		c.stuck++
	} else {
		for _, of := range data.ResourceSpans {
			node := ""
			for _, a := range of.Resource.Attributes {
				if a.Key == "service.instance.id" {
					node = a.Value.GetStringValue()
				}
			}
			for _, in := range of.ScopeSpans {
				for _, s := range in.Spans {
					c.spans = append(c.spans, span{s, node})
				}
			}
		}
	}
	c.mu.Unlock()
	if hangs {
		<-r.Context().Done()
	}
}

// hang has it answer nobody any more.
func (c *collector) hang() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangs = true
}

func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// tree writes the trace that has a span of this name and attribute: parts in the order of
// the alphabet, what happened twice alike once, and nodes called by the part they have.
func (c *collector) tree(name, key, value string, parts map[string]string) string {
	all := c.all()
	at := slices.IndexFunc(all, func(s span) bool { return s.Name == name && s.attributes()[key] == value })
	if at < 0 {
		return ""
	}
	var tell func(parent string, depth int) string
	tell = func(parent string, depth int) string {
		var lines []string
		for _, s := range all {
			if s.trace() != all[at].trace() || s.parent() != parent {
				continue
			}
			line := strings.Repeat("  ", depth) + s.Name + " at " + cmp.Or(parts[s.node], s.node)
			attributes := s.attributes()
			for _, key := range slices.Sorted(maps.Keys(attributes)) {
				line += fmt.Sprintf(" %s=%s", key[strings.IndexByte(key, '.')+1:], cmp.Or(parts[attributes[key]], attributes[key]))
			}
			if s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR {
				line += " ! " + s.Status.Message
			}
			lines = append(lines, line+"\n"+tell(s.id(), depth+1))
		}
		slices.Sort(lines)
		return strings.Join(slices.Compact(lines), "")
	}
	return tell("", 0)
}

// documented reads the table of docs/traces.md: the parents and attributes of spans.
func documented(t *testing.T) (parents, attributes map[string][]string) {
	t.Helper()
	doc, err := os.ReadFile(module + "/docs/traces.md")
	if err != nil {
		t.Fatal(err)
	}
	parents, attributes = map[string][]string{}, map[string][]string{}
	names := regexp.MustCompile("`([a-z.-]+)`")
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 4 || !strings.HasPrefix(line, "| `") {
			continue
		}
		var in [3][]string
		for i := range in {
			for _, m := range names.FindAllStringSubmatch(cells[i], -1) {
				in[i] = append(in[i], m[1])
			}
		}
		parents[in[0][0]], attributes[in[0][0]] = in[1], in[2]
	}
	return parents, attributes
}

// repeated is what spans say when something had to be tried again.
var repeated = regexp.MustCompile(`outcome=(not-done|no-quorum|unknown)\b|attempt=[2-9]`)

// A collector is told of an attach and of a whole use, span by span, whichever nodes
// they take place on, and of nobody. That it hangs then is nobody's matter either.
func TestTraces(t *testing.T) {
	t.Parallel()
	s := makeSite(t, 3)
	c, endpoint := s.collector()
	gateways := map[string]string{"gw2": s.ip(10, 2).String(), "gw3": s.ip(10, 3).String()}
	s.change = func(_ int, cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), fmt.Sprintf("SEALEDGE_GATEWAY_ADDRESSES=gw2=%s,gw3=%s", gateways["gw2"], gateways["gw3"]), "SEALEDGE_TELEMETRY_TRACES_ENDPOINT="+endpoint)
	}
	for n := range 3 {
		s.startNode(n)
	}
	s.until("each node holds an address", s.evenly)
	s.sealctl("policy", "apply", s.layout.Policy)
	s.startServer()
	office := s.office()

	// An address that another node than the leader holds, and who they are.
	leader, holder := "", ""
	roles := func() map[string]string {
		s.until("a node that doesn't lead holds an address", func() bool {
			leader, holder = "", ""
			for _, v := range s.status() {
				if v != nil && v.IsLeader {
					leader = v.Node
				}
			}
			for name, a := range s.spread() {
				if gateways[name] != "" && a.Holder != "" && a.Holder != leader {
					holder, s.gateway = a.Holder, netip.MustParseAddr(gateways[name])
				}
			}
			return leader != "" && holder != ""
		})
		return map[string]string{leader: "leader", holder: "holder"}
	}
	parts := roles()
	gtp, _ := s.carrier(1)
	// A node that doesn't lead hears of a terminal a little later.
	known := func() { s.until("every node knows the terminal", s.caughtUp) }
	comes := func(n int) *worker {
		sim := s.enlist(n)
		b := s.barrel(n, sim)
		known()
		return s.out(n, s.attach(gtp, sim), b)
	}
	sim := s.enlist(6)
	known()
	s.attach(gtp, sim) // the nodes have spoken to each other

	// differs waits for a tree, and says how it isn't what is wanted.
	differs := func(what, name, key, value, want string) string {
		t.Helper()
		want = strings.TrimPrefix(want, "\n")
		got := ""
		s.until(what+": the spans are there", func() bool {
			got = c.tree(name, key, value, parts)
			moved := slices.ContainsFunc(s.status(), func(v *adminapi.Status) bool { return v != nil && v.IsLeader && v.Node != leader })
			return moved || strings.Count(got, "\n") >= strings.Count(want, "\n")
		})
		switch {
		case got == want:
			return ""
		case repeated.MatchString(got):
			t.Logf("%s: a part of it was done again, as the busy machine had a node miss another:\n%s", what, got)
			return ""
		}
		return fmt.Sprintf("%s:\n%s\nwant\n%s", what, got, want)
	}
	forwarded := func(indent string) string {
		return strings.ReplaceAll(`
.cluster.forward at holder leader=leader outcome=ok
.  cluster.lead at leader outcome=ok
.    cluster.apply at leader`, "\n.", "\n"+indent)[1:]
	}

	w := comes(7)
	session := fmt.Sprint(s.sessions(imsi(7))[0].ID)
	wrong := differs("attach", "gtp.request", "sealedge.session", session, `
gtp.request at holder carrier=unnamed cause=request accepted (16) procedure=create-session version=2 session=`+session+`
  cluster.propose at holder command=OPEN_SESSION result=OK outcome=ok
    cluster.catch-up at holder
`+forwarded("    ")+`
  gtp.answer at holder
  gtp.wait at holder
  session.decide at holder attempt=1 outcome=ok
  tunnel.program at holder
`)
	if err := s.phone(gtp, s.sim(8)).Attach(s.soon()); err == nil {
		t.Error("a terminal that isn't on the list is let in")
	}
	wrong += differs("refused attach", "session.decide", "sealedge.outcome", "imsi-unknown", `
gtp.request at holder carrier=unnamed cause=APN access denied - no subscription (93) procedure=create-session version=2 ! APN access denied - no subscription (93)
  gtp.answer at holder
  gtp.wait at holder
  session.decide at holder attempt=1 outcome=imsi-unknown ! imsi-unknown
`)

	order := office.Order("WO-TRACED", 2)
	use := w.request(order, 1)
	w.unlock(use)
	stamp := w.press(use)
	if _, err := w.app.UploadEvidence(s.soon(), use.Use, stamp, []byte("\x89PNG\r\n\x1a\nof a page"), "image/png"); err != nil {
		t.Fatal(err)
	}
	w.settled(use.Use)
	wrong += differs("use", "use.report", "sealedge.use", fmt.Sprint(use.Use), strings.ReplaceAll(`
use.request at holder outcome=ok use=N
  cluster.propose at holder command=RESERVE_USES result=OK outcome=ok
    cluster.catch-up at holder
`+forwarded("    ")+`
  use.decide at holder attempt=1 outcome=ok
  use.grant at holder use=N
    use.change at holder by=barrel outcome=ok use=N
      cluster.propose at holder command=RECORD_RECEIPT result=OK outcome=ok
        cluster.catch-up at holder
`+forwarded("        ")+`
    use.change at holder by=barrel outcome=ok use=N
      cluster.propose at holder command=SETTLE_USE result=OK outcome=ok
        cluster.catch-up at holder
`+forwarded("        ")+`
    use.evidence at holder outcome=ok use=N
      cluster.propose at holder command=RECORD_EVIDENCE result=OK outcome=ok
        cluster.catch-up at holder
`+forwarded("        ")+`
      use.store at holder outcome=ok
    use.report at leader outcome=ok use=N
  use.screen at holder outcome=ok
  use.verify at holder outcome=ok
`, "=N", fmt.Sprint("=", use.Use)))
	if was := parts; wrong != "" && maps.Equal(roles(), was) {
		t.Error(wrong)
	} else if wrong != "" {
		t.Logf("another node leads than before, which a busy machine can bring about; the traces then are others:\n%s", wrong)
	}

	// Nothing of anybody left a node.
	c.mu.Lock()
	raw := bytes.Clone(c.raw)
	c.mu.Unlock()
	for what, hidden := range map[string]string{
		"IMSI": imsi(7), "stranger": imsi(8), "IMEI": handset(7), "barrel": w.id, "MAC": "02:00:5e:10", "order": "WO-TRACED", "user": people.Applicant,
		"access point": s.apn.String(), "inner address": "10.90.", "carrier's address": s.ip(20, 1).String(), "gateway address": s.gateway.String(), "seal server": s.sealServer().String(),
	} {
		if bytes.Contains(raw, []byte(hidden)) {
			t.Errorf("the %s (%s) is exported", what, hidden)
		}
	}

	// What came is what docs/traces.md says.
	parents, attributes := documented(t)
	var came []span
	byID := map[string]span{}
	s.until("no span lacks the one that it is under, which ends later and may be another node's", func() bool {
		came = c.all()
		for _, sp := range came {
			byID[sp.id()] = sp
		}
		return !slices.ContainsFunc(came, func(sp span) bool { _, ok := byID[sp.parent()]; return !ok && sp.parent() != "" })
	})
	for _, sp := range came {
		known, ok := attributes[sp.Name]
		if !ok {
			t.Errorf("%s is not in docs/traces.md", sp.Name)
		}
		for key := range sp.attributes() {
			if !slices.Contains(known, key) {
				t.Errorf("%s has %s, which docs/traces.md doesn't say", sp.Name, key)
			}
		}
		if above, ok := byID[sp.parent()]; ok != (len(parents[sp.Name]) > 0) || ok && !slices.Contains(parents[sp.Name], above.Name) {
			t.Errorf("%s is under %q, and docs/traces.md says %v", sp.Name, above.GetName(), parents[sp.Name])
		}
	}

	// A collector that hangs.
	c.hang()
	next := comes(9)
	s.until("it is asked, and doesn't answer", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.stuck > 0
	})
	next.stampOnce(office.Order("WO-UNTOLD", 1))
	for _, n := range s.nodes {
		n.stop() // in time, or the test fails
	}
}
