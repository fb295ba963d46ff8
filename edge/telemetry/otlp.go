package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// collectorClient carries spans to a collector: OTLP over HTTP, in protobuf (OTLP
// 1.5). It is otlptrace's Client. The SDK's own for HTTP brings gRPC with it, which
// nothing here speaks.
type collectorClient struct {
	endpoint string
	headers  func() (http.Header, error)
	version  string
	http     *http.Client
}

func newCollectorClient(cfg TracesConfig) *collectorClient {
	headers := cfg.Headers
	if headers == nil {
		headers = func() (http.Header, error) { return nil, nil }
	}
	transport := cfg.transport
	if transport == nil {
		transport = &http.Transport{
			// No Proxy: one that the environment names has no business in between.
			DialContext:         (&net.Dialer{Timeout: sendTime / 2}).DialContext,
			TLSClientConfig:     cfg.TLS,
			TLSHandshakeTimeout: sendTime / 2, MaxConnsPerHost: 1, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
		}
	}
	return &collectorClient{
		endpoint: cfg.Endpoint, headers: headers, version: cfg.Version,
		http: &http.Client{
			Transport: transport,
			// The headers may be secrets, which a redirection would carry elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (c *collectorClient) close() { c.http.CloseIdleConnections() }

// Start implements otlptrace.Client.
func (c *collectorClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *collectorClient) Stop(context.Context) error { return nil }

// tryAgain is a failure that may pass.
type tryAgain struct {
	why   error
	after time.Duration // that the collector asks for; 0: it doesn't
}

func (e *tryAgain) Error() string { return e.why.Error() }

// rejectedPart is how many of the spans the collector didn't take. The rest arrived.
type rejectedPart struct {
	spans uint64
	why   string
}

func (e *rejectedPart) Error() string {
	return fmt.Sprintf("the collector rejected %d spans: %q", e.spans, e.why)
}

// maxTold bounds what is read of the collector's answer, in bytes.
const maxTold = 64 << 10

// UploadTraces implements otlptrace.Client.
func (c *collectorClient) UploadTraces(ctx context.Context, spans []*otlp.ResourceSpans) error {
	// An ExportTraceServiceRequest is the same on the wire.
	raw, err := proto.Marshal(&otlp.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	_, _ = zip.Write(raw) // to memory
	_ = zip.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, &body)
	if err != nil {
		return err
	}
	headers, err := c.headers()
	if err != nil {
		return &tryAgain{why: err} // it may be about to be replaced
	}
	for name, values := range headers {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("User-Agent", "sealedge/"+c.version)
	resp, err := c.http.Do(req)
	if err != nil {
		if byURL := (*url.Error)(nil); errors.As(err, &byURL) {
			err = byURL.Err
		}
		return &tryAgain{why: err}
	}
	defer resp.Body.Close()
	told, err := io.ReadAll(io.LimitReader(resp.Body, maxTold))
	switch {
	case resp.StatusCode/100 == 2:
		return partial(told) // what it says no more is of no matter
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusBadGateway,
		resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		s, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &tryAgain{why: fmt.Errorf("the collector answered with status %d", resp.StatusCode), after: time.Duration(min(max(s, 0), 3600)) * time.Second}
	}
	return errors.Join(fmt.Errorf("the collector answered with status %d", resp.StatusCode), err)
}

// partial reads an ExportTraceServiceResponse: its field 1 says, in fields 1 and 2, how
// many spans were rejected and why. What can't be read says nothing.
func partial(told []byte) error {
	var p rejectedPart
	each(told, func(field protowire.Number, _ uint64, b []byte) {
		if field != 1 {
			return
		}
		each(b, func(field protowire.Number, n uint64, b []byte) {
			switch field {
			case 1:
				p.spans = n
			case 2:
				p.why = string(b[:min(len(b), 200)])
			}
		})
	})
	if p.spans == 0 {
		return nil
	}
	return &p
}

// each gives the fields of a message: a number, or bytes.
func each(b []byte, field func(n protowire.Number, number uint64, raw []byte)) {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return
		}
		b = b[size:]
		var number uint64
		var raw []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			raw, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, kind, b)
		}
		if size < 0 {
			return
		}
		field(n, number, raw)
		b = b[size:]
	}
}
