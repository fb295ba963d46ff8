package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// serve starts a seal server and gives a client of it.
func serve(t *testing.T, timeout time.Duration, handler http.HandlerFunc) *Client {
	t.Helper()
	ca := newAuthority(t)
	srv := httptest.NewUnstartedServer(handler)
	srv.TLS = ca.config(t, "localhost", "")
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	c, err := NewClient(ClientConfig{URL: srv.URL, TLS: ca.config(t, "gateway", ""), Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNewClient(t *testing.T) {
	for _, bad := range []string{"", "127.0.2.1:8443", "http://127.0.2.1:8443", "https://", "https://u:p@h", "https://h/api", "https://h?x=1", "https://h#x", "https://h:x"} {
		if _, err := NewClient(ClientConfig{URL: bad, TLS: new(tls.Config)}); err == nil {
			t.Errorf("URL %q was accepted", bad)
		}
	}
	if _, err := NewClient(ClientConfig{URL: "https://h:1"}); err == nil {
		t.Error("no TLS configuration was accepted")
	}
	if _, err := NewClient(ClientConfig{URL: "https://h:1/", TLS: new(tls.Config)}); err != nil {
		t.Error(err)
	}
}

// Each call has its method, path, token and body, and comes with the gateway's
// certificate.
func TestCalls(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	verify := wire.VerifyRequest{Order: "WO-1", Barrel: "SB-0001", Terminal: "460010000000001", Time: now}
	answer := wire.VerifyAnswer{Pass: true, User: "li.wei", Count: 2, SealType: "company", Level: 1, Methods: []string{"face"}}
	settled := wire.SettledReport{Use: 7, Order: "WO-1", Stamped: 2, SettledAt: now, Stamps: []wire.SettledStamp{}}
	for _, tc := range []struct {
		name         string
		call         func(c *Client) (any, error)
		method, path string
		token        string
		in, out      any
		status       int
	}{
		{"login", func(c *Client) (any, error) {
			return c.Login(t.Context(), wire.LoginRequest{User: "li.wei", Password: "x"})
		}, "POST", "/v1/login", "", wire.LoginRequest{User: "li.wei", Password: "x"}, wire.LoginAnswer{Token: "t", Expires: now, Name: "Li Wei"}, 200},
		{
			"orders", func(c *Client) (any, error) { return c.Orders(t.Context(), "tok") },
			"GET", "/v1/orders", "Bearer tok", nil,
			wire.OrderList{Orders: []wire.Order{{Number: "WO-1", NotBefore: now, NotAfter: now}}},
			200,
		},
		{
			"verify", func(c *Client) (any, error) { return c.Verify(t.Context(), "tok", verify) },
			"POST", "/v1/seal-uses/verify", "Bearer tok", verify, answer, 200,
		},
		{
			"settled", func(c *Client) (any, error) { return nil, c.Settled(t.Context(), settled) },
			"POST", "/v1/uses/settled", "", settled, nil, 204,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != tc.method || r.URL.Path != tc.path || r.Header.Get("Authorization") != tc.token {
					t.Errorf("%s %s with %q, want %s %s with %q", r.Method, r.URL.Path, r.Header.Get("Authorization"), tc.method, tc.path, tc.token)
				}
				if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].DNSNames[0] != "gateway" {
					t.Error("the gateway's certificate is missing")
				}
				body, _ := io.ReadAll(r.Body)
				if want, _ := json.Marshal(tc.in); tc.in != nil && !bytes.Equal(body, want) || tc.in == nil && len(body) > 0 {
					t.Errorf("body %s, want %s", body, want)
				}
				w.WriteHeader(tc.status)
				if tc.out != nil {
					_ = json.NewEncoder(w).Encode(tc.out)
				}
			})
			got, err := tc.call(c)
			if err != nil || !reflect.DeepEqual(got, tc.out) {
				t.Errorf("got %+v, %v, want %+v", got, err, tc.out)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		kind   string
		body   string
		want   wire.Code
		detail string // that the answer has in it
	}{
		{"its own code", 401, wire.ContentTypeProblem, `{"code":"login-failed","title":"x"}`, wire.CodeLoginFailed, ""},
		{"its own code with a charset", 403, wire.ContentTypeProblem + "; charset=utf-8", `{"code":"order-not-open","detail":"From tomorrow."}`, wire.CodeOrderNotOpen, "From tomorrow."},
		{"a code of the gateway's", 503, wire.ContentTypeProblem, `{"code":"no-quorum","title":"Ha."}`, wire.CodeServerUnreachable, "503"},
		{"a code of the gateway's, refused", 403, wire.ContentTypeProblem, `{"code":"barrel-revoked","title":"Ha.","detail":"Because."}`, wire.CodeServerRefused, "Ha. Because."},
		{"no code", 403, wire.ContentTypeProblem, `{"title":"No."}`, wire.CodeServerRefused, "No."},
		{"no words", 403, "text/html", `<html>`, wire.CodeServerRefused, "403"},
		{"not JSON", 403, wire.ContentTypeProblem, `{`, wire.CodeServerRefused, "403"},
		{"no login", 401, "", "", wire.CodeTokenInvalid, ""},
		{"too many", 429, "", "", wire.CodeRateLimited, ""},
		{"failed", 500, "", "", wire.CodeServerUnreachable, "500"},
		{"elsewhere", 302, "", "", wire.CodeServerRefused, "302"},
		{"long words with controls", 403, wire.ContentTypeProblem, `{"title":"a\u0000\n` + strings.Repeat("字", 400) + `"}`, wire.CodeServerRefused, "a 字"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
				if tc.kind != "" {
					w.Header().Set("Content-Type", tc.kind)
				}
				w.Header().Set("Location", "/v1/elsewhere")
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
				if r.URL.Path != wire.PathServerOrders {
					t.Errorf("asked for %s", r.URL.Path)
				}
			})
			_, err := c.Orders(t.Context(), "tok")
			p := wantProblem(t, err, tc.want)
			if !strings.Contains(p.Detail, tc.detail) || p.RetryAfterSeconds != 7 || len([]rune(p.Detail)) > 320 || strings.ContainsAny(p.Detail, "\x00\n") {
				t.Errorf("problem %+v, want %q in its detail", p, tc.detail)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for name, handler := range map[string]http.HandlerFunc{
		"no answer":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half an answer": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"orders":[`) },
		"not JSON":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `orders`) },
		"endless answer": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"orders":[`)
			for range 2 * wire.MaxAnswer / 100 {
				_, _ = io.WriteString(w, `{"number":"`+strings.Repeat("x", 84)+`"},`)
			}
		},
		"hung up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, 500*time.Millisecond, handler)
			_, err := c.Orders(t.Context(), "tok")
			if p := wantProblem(t, err, wire.CodeServerUnreachable); strings.Contains(p.Detail, "127.0.0.1") {
				t.Errorf("the detail %q tells an address", p.Detail)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		c := serve(t, time.Second, nil)
		c.base = "https://127.0.0.1:1"
		_, err := c.Orders(t.Context(), "tok")
		wantProblem(t, err, wire.CodeServerUnreachable)
	})
	t.Run("another authority", func(t *testing.T) {
		c := serve(t, time.Second, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
		other, err := NewClient(ClientConfig{URL: c.base, TLS: newAuthority(t).config(t, "gateway", "")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = other.Orders(t.Context(), "tok")
		wantProblem(t, err, wire.CodeServerUnreachable)
	})
}

func TestTokenThatIsNone(t *testing.T) {
	c := serve(t, time.Minute, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	_, err := c.Orders(t.Context(), "tok\r\nX-Evil: 1")
	wantProblem(t, err, wire.CodeTokenInvalid)
}

var ref = wire.EvidenceRef{Order: "WO/1 ä", Use: 7, Stamp: 2}

func TestEvidenceState(t *testing.T) {
	sum := sha256.Sum256([]byte("image"))
	for _, tc := range []struct {
		name   string
		status int
		header map[string]string
		want   wire.EvidenceState
		refuse wire.Code
	}{
		{"not begun", 200, map[string]string{"Upload-Offset": "0"}, wire.EvidenceState{}, ""},
		{"not known", 404, nil, wire.EvidenceState{}, ""},
		{"under way", 200, map[string]string{"Upload-Offset": "3", "Upload-Length": "5"}, wire.EvidenceState{Offset: 3, Length: 5}, ""},
		{"all there, not checked", 200, map[string]string{"Upload-Offset": "5", "Upload-Length": "5"}, wire.EvidenceState{Offset: 5, Length: 5}, ""},
		{
			"stored", 200,
			map[string]string{"Upload-Offset": "5", "Upload-Length": "5", "Repr-Digest": wire.FormatReprDigest(sum)},
			wire.EvidenceState{Offset: 5, Length: 5, Digest: sum, Complete: true},
			"",
		},
		{"without an offset", 200, nil, wire.EvidenceState{}, wire.CodeServerUnreachable},
		{"beyond the end", 200, map[string]string{"Upload-Offset": "6", "Upload-Length": "5"}, wire.EvidenceState{}, wire.CodeServerUnreachable},
		{"negative", 200, map[string]string{"Upload-Offset": "-1", "Upload-Length": "5"}, wire.EvidenceState{}, wire.CodeServerUnreachable},
		{"too long", 200, map[string]string{"Upload-Offset": "1", "Upload-Length": "99999999999"}, wire.EvidenceState{}, wire.CodeServerUnreachable},
		{"with another digest", 200, map[string]string{"Upload-Offset": "5", "Upload-Length": "5", "Repr-Digest": "sha-256=:eA==:"}, wire.EvidenceState{}, wire.CodeServerUnreachable},
		{"refused", 403, nil, wire.EvidenceState{}, wire.CodeServerRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodHead || r.URL.EscapedPath() != "/v1/evidence/WO%2F1%20%C3%A4/7/2" {
					t.Errorf("%s %s", r.Method, r.URL.EscapedPath())
				}
				for k, v := range tc.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.status)
			})
			got, err := c.EvidenceState(t.Context(), ref)
			if tc.refuse != "" {
				wantProblem(t, err, tc.refuse)
			} else if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestAppendEvidence(t *testing.T) {
	image := bytes.Repeat([]byte("image"), 100_000)
	sum := sha256.Sum256(image)
	whole := wire.EvidenceChunk{Length: int64(len(image)), Digest: sum, ContentType: "image/jpeg", Size: int64(len(image))}
	acknowledge := func(w http.ResponseWriter, a wire.EvidenceAnswer) {
		_ = json.NewEncoder(w).Encode(a)
	}
	right := wire.EvidenceAnswer{Digest: sum[:], Size: int64(len(image))}
	for _, tc := range []struct {
		name   string
		size   int64
		answer func(w http.ResponseWriter, body []byte)
		want   wire.EvidenceState
		refuse wire.Code
	}{
		{
			"stored", whole.Size, func(w http.ResponseWriter, _ []byte) { acknowledge(w, right) },
			wire.EvidenceState{Offset: whole.Length, Length: whole.Length, Digest: sum, Complete: true},
			"",
		},
		{
			"of unknown size", -1, func(w http.ResponseWriter, _ []byte) { acknowledge(w, right) },
			wire.EvidenceState{Offset: whole.Length, Length: whole.Length, Digest: sum, Complete: true},
			"",
		},
		{"a part", whole.Size, func(w http.ResponseWriter, body []byte) {
			w.Header().Set("Upload-Offset", "17")
			w.WriteHeader(204)
		}, wire.EvidenceState{Offset: 17, Length: whole.Length}, ""},
		{"a part beyond the end", whole.Size, func(w http.ResponseWriter, body []byte) {
			w.Header().Set("Upload-Offset", "60000000")
			w.WriteHeader(204)
		}, wire.EvidenceState{}, wire.CodeServerUnreachable},
		{"another image acknowledged", whole.Size, func(w http.ResponseWriter, _ []byte) {
			acknowledge(w, wire.EvidenceAnswer{Digest: make([]byte, 32), Size: whole.Length})
		}, wire.EvidenceState{}, wire.CodeDigestMismatch},
		{"another size acknowledged", whole.Size, func(w http.ResponseWriter, _ []byte) {
			acknowledge(w, wire.EvidenceAnswer{Digest: sum[:], Size: 1})
		}, wire.EvidenceState{}, wire.CodeDigestMismatch},
		{
			"accepted, whatever that means", whole.Size, func(w http.ResponseWriter, _ []byte) { w.WriteHeader(202) },
			wire.EvidenceState{},
			wire.CodeServerUnreachable,
		},
		{"wrong offset", whole.Size, func(w http.ResponseWriter, _ []byte) {
			wire.NewProblem(wire.CodeUploadOffset, "").Write(w)
		}, wire.EvidenceState{}, wire.CodeUploadOffset},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || !bytes.Equal(body, image) {
					t.Errorf("read %d bytes, %v", len(body), err)
				}
				h := r.Header
				if r.Method != http.MethodPatch || h.Get("Upload-Offset") != "0" || h.Get("Upload-Length") != "500000" ||
					h.Get("Content-Type") != "image/jpeg" || h.Get("Repr-Digest") != wire.FormatReprDigest(sum) {
					t.Errorf("%s with %v", r.Method, h)
				}
				tc.answer(w, body)
			})
			chunk := whole
			chunk.Size, chunk.Body = tc.size, bytes.NewReader(image)
			got, err := c.AppendEvidence(t.Context(), ref, chunk)
			if tc.refuse != "" {
				wantProblem(t, err, tc.refuse)
			} else if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// The answer of a complete image can be asked for again without its bytes.
func TestAppendNothing(t *testing.T) {
	sum := sha256.Sum256([]byte("image"))
	c := serve(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 || r.Header.Get("Upload-Offset") != "5" {
			t.Errorf("%d bytes at %s", r.ContentLength, r.Header.Get("Upload-Offset"))
		}
		_ = json.NewEncoder(w).Encode(wire.EvidenceAnswer{Digest: sum[:], Size: 5})
	})
	got, err := c.AppendEvidence(t.Context(), ref, wire.EvidenceChunk{Offset: 5, Length: 5, Digest: sum})
	if err != nil || !got.Complete {
		t.Errorf("got %+v, %v", got, err)
	}
}

// slow is a body whose end is up to the test.
type slow struct {
	first []byte
	wait  chan struct{}
	after atomic.Int32 // reads that began after wait was closed
}

func (s *slow) Read(p []byte) (int, error) {
	select {
	case <-s.wait:
		s.after.Add(1)
		return 0, io.EOF
	default:
	}
	if len(s.first) > 0 {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	<-s.wait
	return 0, errors.New("the terminal is gone")
}

// An upload that doesn't move is given up, and one that the server refuses
// early is answered early; the terminal's body isn't touched after that.
func TestAppendStalls(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    wire.Code
	}{
		"terminal stands still": {func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, wire.CodeServerUnreachable},
		"refused early":         {func(w http.ResponseWriter, _ *http.Request) { wire.NewProblem(wire.CodeTooLarge, "").Write(w) }, wire.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, 300*time.Millisecond, tc.handler)
			body := &slow{first: make([]byte, 1000), wait: make(chan struct{})}
			_, err := c.AppendEvidence(t.Context(), ref, wire.EvidenceChunk{Length: 5000, Size: 5000, Body: body})
			close(body.wait)
			wantProblem(t, err, tc.want)
			c.Close()
			if n := body.after.Load(); n != 0 {
				t.Errorf("read %d times after the answer", n)
			}
		})
	}
}

// A caller that goes away doesn't wait for the server.
func TestCallerGoesAway(t *testing.T) {
	arrived := make(chan struct{})
	c := serve(t, time.Minute, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := c.Orders(ctx, "tok")
	wantProblem(t, err, wire.CodeServerUnreachable)
}
