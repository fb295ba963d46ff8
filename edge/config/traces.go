package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Traces is where traces go, and how many of them.
type Traces struct {
	Endpoint Collector `key:"endpoint"` // empty: none are made
	Ratio    Ratio     `key:"ratio"`    // of attaches and of uses that are traced
	CA       Path      `key:"ca"`       // of the collector's certificate; empty: the system's
	Cert     Path      `key:"cert"`     // shown to it, with Key; empty: none is
	Key      Path      `key:"key"`
	// HeadersFile has further headers of each request, such as one that the collector
	// knows the node by.
	HeadersFile Path `key:"headers_file"`
}

// Enabled tells whether traces are made.
func (t Traces) Enabled() bool { return t.Endpoint.Host != "" }

// Headers reads HeadersFile; nil: there is none.
func (t Traces) Headers() (http.Header, error) {
	if t.HeadersFile == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(string(t.HeadersFile))
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	for i, line := range bytes.Split(raw, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		// The text may be a secret, so that it isn't quoted.
		name, value, ok := strings.Cut(text, ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("line %d of %s is no header; write NAME: VALUE", i+1, t.HeadersFile)
		}
		if name := http.CanonicalHeaderKey(name); name == "Content-Type" || name == "Content-Length" || name == "Content-Encoding" || name == "Host" {
			return nil, fmt.Errorf("line %d of %s: %s is not for the file to say", i+1, t.HeadersFile, name)
		}
		h.Add(name, value)
	}
	return h, nil
}

// Collector is an address that traces are sent to (OTLP over HTTP).
type Collector struct{ url.URL }

// tracesPath is where collectors take traces, if nothing else is said (OTLP 1.5).
const tracesPath = "/v1/traces"

// UnmarshalText wants http or https, and a host.
func (c *Collector) UnmarshalText(b []byte) error {
	if bytes.ContainsAny(b, "@?") { // it isn't quoted: it goes into the log
		return errors.New("what it says, not shown as it has a user or a query, is no collector; write http:// or https:// and host:port, and put the secret into a header, in telemetry.traces.headers_file")
	}
	u, err := url.Parse(string(b))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" || u.Opaque != "" {
		return fmt.Errorf("%q is no collector; write http:// or https:// and host:port, such as https://otel.example.com:4318", b)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = tracesPath
	}
	c.URL = *u
	return nil
}

// Ratio is a part of a whole.
type Ratio float64

// UnmarshalText wants 0 to 1.
func (r *Ratio) UnmarshalText(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return fmt.Errorf("%q is not a number from 0 to 1, such as 0.1", b)
	}
	*r = Ratio(f)
	return nil
}

func (l *loader) agreeTraces(t *Traces) {
	for _, p := range []struct {
		key         string
		file, other Path
	}{{"cert", t.Cert, t.Key}, {"key", t.Key, t.Cert}} {
		if p.file == "" && p.other != "" {
			l.mistake("telemetry.traces."+p.key, "name both files, or neither", "is missing: a certificate needs its key")
		}
	}
	if t.Endpoint.Scheme != "http" {
		return
	}
	for _, p := range []struct {
		key  string
		file Path
	}{{"ca", t.CA}, {"cert", t.Cert}} {
		if p.file != "" {
			l.mistake("telemetry.traces."+p.key, "write https in telemetry.traces.endpoint, or leave it empty", "is %s, but the collector is called without TLS", p.file)
		}
	}
	if a, err := netip.ParseAddr(t.Endpoint.Hostname()); t.HeadersFile != "" && (err != nil || !a.IsLoopback()) {
		l.mistake("telemetry.traces.headers_file", "write https in telemetry.traces.endpoint", "is %s, but whoever is on the way to %s could read the headers", t.HeadersFile, net.JoinHostPort(t.Endpoint.Hostname(), t.Endpoint.Port()))
	}
}

// traces checks what is wanted for sending them.
func (c checker) traces(t Traces) {
	if !t.Enabled() {
		return
	}
	if t.CA != "" {
		c.pool("telemetry.traces", t.CA)
	}
	if t.Cert != "" {
		c.pair("telemetry.traces", t.Cert, t.Key)
	}
	if t.HeadersFile != "" {
		c.keyFile("telemetry.traces.headers_file", t.HeadersFile, func() error { _, err := t.Headers(); return err })
	}
}
