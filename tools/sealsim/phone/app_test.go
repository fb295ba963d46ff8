package phone

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

func TestLoginAndOrders(t *testing.T) {
	w := newWorld(t, nil)
	w.mux.HandleFunc("POST "+wire.PathLogin, func(rw http.ResponseWriter, r *http.Request) {
		var in wire.LoginRequest
		if err := wire.DecodeRequest(r.Body, &in); err != nil || in != (wire.LoginRequest{User: "lin", Password: "secret"}) {
			wire.NewProblem(wire.CodeLoginFailed, "").Write(rw)
			return
		}
		answerJSON(rw, 200, `{"token":"T1","name":"Lin"}`)
	})
	w.mux.HandleFunc("GET "+wire.PathOrders, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer T1" {
			wire.NewProblem(wire.CodeTokenInvalid, "").Write(rw)
			return
		}
		answerJSON(rw, 200, `{"orders":[{"number":"WO-7","count":2}]}`)
	})
	app := w.attach()
	var p *wire.Problem
	if _, err := app.Orders(t.Context()); !errors.As(err, &p) || p.Code != wire.CodeTokenInvalid {
		t.Errorf("orders before login: %v", err)
	}
	if _, err := app.Login(t.Context(), "lin", "wrong"); !errors.As(err, &p) || p.Code != wire.CodeLoginFailed {
		t.Errorf("wrong password: %v", err)
	}
	if in, err := app.Login(t.Context(), "lin", "secret"); err != nil || in.Name != "Lin" {
		t.Fatalf("login: %+v, %v", in, err)
	}
	if orders, err := app.Orders(t.Context()); err != nil || len(orders) != 1 || orders[0].Number != "WO-7" {
		t.Errorf("orders: %+v, %v", orders, err)
	}
	app.Logout()
	if _, err := app.Orders(t.Context()); !errors.As(err, &p) || p.Code != wire.CodeTokenInvalid {
		t.Errorf("orders after logout: %v", err)
	}
}

// The request id stays the same through a broken connection, a cluster without
// quorum and an unknown outcome.
func TestUseRequestIsRepeatedWithItsID(t *testing.T) {
	clock := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	w := newWorld(t, nil)
	w.phone.cfg.Clock = func() time.Time { return clock }
	var got []wire.UseRequest
	w.mux.HandleFunc("POST "+wire.PathUses, func(rw http.ResponseWriter, r *http.Request) {
		var in wire.UseRequest
		if err := wire.DecodeRequest(r.Body, &in); err != nil {
			t.Error(err)
		}
		switch got = append(got, in); len(got) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			wire.NewProblem(wire.CodeNoQuorum, "").Write(rw)
		case 3:
			wire.NewProblem(wire.CodeOutcomeUnknown, "").Write(rw)
		default:
			answerJSON(rw, 201, `{"use":5,"grant":"AQI=","barrel":"SB-0001","count":2}`)
		}
	})
	app := w.attach()
	use, err := app.RequestUse(t.Context(), "WO-7", "SB-0001", 2)
	if err != nil || use.Use != 5 || !bytes.Equal(use.Grant, []byte{1, 2}) {
		t.Fatalf("%+v, %v", use, err)
	}
	want := wire.UseRequest{
		RequestID: got[0].RequestID, TerminalAddress: given.String(), ServerAddress: "127.0.2.1:8443",
		Time: clock, Order: "WO-7", Barrel: "SB-0001", Count: 2,
	}
	if len(got) != 4 || want.RequestID == "" {
		t.Fatalf("%d requests", len(got))
	}
	for i, r := range got {
		if !reflect.DeepEqual(r, want) {
			t.Errorf("request %d was %+v, want %+v", i, r, want)
		}
	}
	if second := app.NewUseRequest("WO-7", "SB-0001", 2); second.RequestID == want.RequestID {
		t.Error("a new request has an old id")
	}
}

func TestWhatIsNotTriedAgain(t *testing.T) {
	w := newWorld(t, nil)
	calls := 0
	w.mux.HandleFunc("POST "+wire.PathUses, func(rw http.ResponseWriter, _ *http.Request) {
		calls++
		wire.NewProblem(wire.CodeOrderNotOpen, "From Monday on.").Write(rw)
	})
	w.mux.HandleFunc("GET "+wire.PathStatus, func(rw http.ResponseWriter, _ *http.Request) { answerJSON(rw, 200, `{`) })
	app := w.attach()
	var p *wire.Problem
	if _, err := app.RequestUse(t.Context(), "WO-7", "SB-0001", 0); !errors.As(err, &p) || p.Code != wire.CodeOrderNotOpen || p.Detail != "From Monday on." {
		t.Errorf("got %v", err)
	}
	if calls != 1 {
		t.Errorf("a refusal was tried %d times", calls)
	}
	if _, err := app.Status(t.Context()); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("malformed answer: %v", err)
	}
	if _, err := app.Orders(cancelled(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	stranger := newWorld(t, func(c *Config) { c.App.ServerName = "10.90.0.2" })
	if _, err := stranger.attach().Status(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another gateway's certificate: %v", err)
	}
}

// store is an evidence store that loses the connection now and then.
type store struct {
	t       *testing.T
	mu      sync.Mutex
	got     []byte
	patches int
	abortAt map[int]int // after how many bytes of which patch
	refuse  map[int]wire.Code
	lie     bool
}

func (s *store) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodHead {
		w.Header().Set(wire.HeaderUploadOffset, strconv.Itoa(len(s.got)))
		return
	}
	s.patches++
	if code := s.refuse[s.patches]; code != "" {
		wire.NewProblem(code, "").Write(w)
		return
	}
	if r.Header.Get(wire.HeaderUploadOffset) != strconv.Itoa(len(s.got)) {
		wire.NewProblem(wire.CodeUploadOffset, "").Write(w)
		return
	}
	want, err := wire.ParseReprDigest(r.Header.Get(wire.HeaderReprDigest))
	if err != nil {
		s.t.Error(err)
	}
	if after, ok := s.abortAt[s.patches]; ok {
		part := make([]byte, after)
		n, _ := io.ReadFull(r.Body, part)
		s.got = append(s.got, part[:n]...)
		panic(http.ErrAbortHandler)
	}
	piece, _ := io.ReadAll(r.Body)
	s.got = append(s.got, piece...)
	if strconv.Itoa(len(s.got)) != r.Header.Get(wire.HeaderUploadLength) {
		w.Header().Set(wire.HeaderUploadOffset, strconv.Itoa(len(s.got)))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	sum := sha256.Sum256(s.got)
	if sum != want {
		s.t.Error("the image arrived with another digest")
	}
	if s.lie {
		sum[0]++
	}
	b, _ := json.Marshal(wire.EvidenceAnswer{Digest: sum[:], Size: int64(len(s.got))})
	answerJSON(w, 200, string(b))
}

func TestEvidence(t *testing.T) {
	image := bytes.Repeat([]byte("page "), 20_000)
	for _, c := range []struct {
		name  string
		store *store
		chunk int
		want  error
	}{
		{name: "in one go"},
		{name: "in chunks", chunk: 30_000},
		{name: "broken off twice", store: &store{abortAt: map[int]int{1: 12_345, 2: 1}}},
		{name: "begun before", store: &store{got: image[:50_000]}},
		{name: "no quorum for the digest", store: &store{refuse: map[int]wire.Code{1: wire.CodeNoQuorum}}},
		{name: "wrong offset once", store: &store{refuse: map[int]wire.Code{1: wire.CodeUploadOffset}}},
		{name: "stamp unknown", store: &store{refuse: map[int]wire.Code{1: wire.CodeStampUnknown}}, want: wire.NewProblem(wire.CodeStampUnknown, "")},
		{name: "another image acknowledged", store: &store{lie: true}, want: ErrDigest},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(cfg *Config) { cfg.App.ChunkSize = c.chunk })
			s := c.store
			if s == nil {
				s = new(store)
			}
			s.t = t
			w.mux.HandleFunc(wire.EvidencePath(5, 1), s.serve)
			answer, err := w.attach().UploadEvidence(t.Context(), 5, 1, image, "image/jpeg")
			var p *wire.Problem
			if errors.As(c.want, &p) {
				var got *wire.Problem
				if !errors.As(err, &got) || got.Code != p.Code {
					t.Errorf("got %v", err)
				}
				return
			}
			if !errors.Is(err, c.want) {
				t.Fatal(err)
			}
			if !bytes.Equal(s.got, image) || answer.Size != int64(len(image)) {
				t.Errorf("%d bytes arrived, %d acknowledged", len(s.got), answer.Size)
			}
		})
	}
}

// barrelOn puts a stand-in for a barrel on the hotspot.
func (w *world) barrelOn(handler coap.Handler) {
	w.t.Helper()
	w.mux.HandleFunc("POST "+wire.PathAssociations, func(rw http.ResponseWriter, r *http.Request) {
		var in wire.Association
		if err := wire.DecodeRequest(r.Body, &in); err != nil || in.MAC != "02:00:5e:10:00:01" {
			wire.NewProblem(wire.CodeMACNotAllowed, "").Write(rw)
			return
		}
		answerJSON(rw, 200, `{"allowed":true,"barrel":"SB-0001"}`)
	})
	mac, err := ident.ParseMAC("02:00:5e:10:00:01")
	if err != nil {
		w.t.Fatal(err)
	}
	link, err := w.phone.Hotspot().Join(w.t.Context(), wifi.Station{MAC: mac, Hostname: "SB-0001"})
	if err != nil {
		w.t.Fatal(err)
	}
	stack, err := ipstack.New(link.Address(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	link.Handle(stack.Deliver)
	stack.SetLink(link.Send)
	socket, err := stack.ListenUDP(wire.LocalPort)
	if err != nil {
		w.t.Fatal(err)
	}
	endpoint := coap.NewEndpoint(socket, coap.Config{Handler: handler})
	w.t.Cleanup(func() {
		_ = endpoint.Close()
		stack.Close()
	})
}

func TestHotspotAsksTheGateway(t *testing.T) {
	w := newWorld(t, nil)
	w.attach()
	w.barrelOn(nil)
	mac, err := ident.ParseMAC("02:00:5e:10:00:66")
	if err != nil {
		t.Fatal(err)
	}
	var p *wire.Problem
	if _, err := w.phone.Hotspot().Join(t.Context(), wifi.Station{MAC: mac}); !errors.As(err, &p) || p.Code != wire.CodeMACNotAllowed {
		t.Errorf("an unlisted MAC: %v", err)
	}
}

func TestBarrelOverTheHotspot(t *testing.T) {
	w := newWorld(t, nil)
	app := w.attach()
	if _, err := app.BarrelStatus(t.Context(), "SB-0001"); !errors.Is(err, ErrNoBarrel) {
		t.Errorf("before it joined: %v", err)
	}
	var asked []string
	w.barrelOn(func(_ context.Context, r coap.Request) coap.Response {
		asked = append(asked, fmt.Sprint(r.Method, " ", r.Path, " ", r.Query))
		switch r.Path {
		case wire.PathLocalUnlock:
			var in wire.UnlockRequest
			if err := wire.UnmarshalCBOR(r.Payload, &in); err != nil || string(in.Grant) != "grant" {
				return coap.Response{
					Code: coap.Forbidden, Format: wire.ContentProblem,
					Payload: wire.MarshalCBOR(wire.ConciseProblem{Title: "grant-invalid", Detail: "no"}),
				}
			}
			return coap.Response{Code: coap.Created, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(wire.UnlockAnswer{Use: 5, Count: 2})}
		case wire.PathLocalReceipts:
			return coap.Response{Code: coap.Content, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(wire.LocalReceipts{Use: 5, Receipts: [][]byte{{1}}})}
		}
		return coap.Response{Code: coap.Content, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(wire.BarrelStatus{Barrel: "SB-0001"})}
	})
	if u, err := app.Unlock(t.Context(), wire.UseAnswer{Barrel: "SB-0001", Grant: []byte("grant")}, "lin", "Contract"); err != nil || u.Count != 2 {
		t.Errorf("unlock: %+v, %v", u, err)
	}
	var refused *BarrelError
	if _, err := app.Unlock(t.Context(), wire.UseAnswer{Barrel: "SB-0001", Grant: []byte("x")}, "", ""); !errors.As(err, &refused) || refused.Problem.Title != "grant-invalid" {
		t.Errorf("refused: %v", err)
	}
	if s, err := app.BarrelStatus(t.Context(), "SB-0001"); err != nil || s.Barrel != "SB-0001" {
		t.Errorf("status: %+v, %v", s, err)
	}
	if r, err := app.BarrelReceipts(t.Context(), "SB-0001", 5); err != nil || len(r.Receipts) != 1 {
		t.Errorf("receipts: %+v, %v", r, err)
	}
	if err := app.LockBarrel(t.Context(), "SB-0001", "done"); err != nil {
		t.Errorf("lock: %v", err)
	}
	want := []string{"POST /unlock []", "POST /unlock []", "GET /status []", "GET /receipts [use=5]", "POST /lock []"}
	if fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
}

func TestLocksAreCarriedOutAndAcknowledged(t *testing.T) {
	w := newWorld(t, nil)
	app := w.attach()
	locked := make(chan string, 8)
	w.barrelOn(func(_ context.Context, r coap.Request) coap.Response {
		if r.Path == wire.PathLocalLock {
			var in wire.LocalLock
			_ = wire.UnmarshalCBOR(r.Payload, &in)
			locked <- in.Reason
		}
		return coap.Response{Code: coap.Changed}
	})
	lock := func(rw http.ResponseWriter, id int) {
		_, _ = fmt.Fprintf(rw, ": sealedge\n\nevent: lock\nid: %d\ndata: {\"lock\":%d,\"barrel\":\"SB-0001\",\n", id, id)
		_, _ = fmt.Fprintf(rw, "data: \"reason\":\"wrong page\"}\n\n")
		_ = http.NewResponseController(rw).Flush()
	}
	acks := make(chan string, 8)
	streams := 0
	w.mux.HandleFunc("GET "+wire.PathEvents, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		if streams++; streams == 1 {
			lock(rw, 0) // not in the log yet
			_, _ = io.WriteString(rw, "event: other\ndata: x\n\n")
			return // and the stream breaks
		}
		lock(rw, 3)
		lock(rw, 3)
		<-r.Context().Done()
	})
	w.mux.HandleFunc("POST "+wire.PathLockAck, func(rw http.ResponseWriter, r *http.Request) {
		acks <- r.PathValue("lock")
		rw.WriteHeader(http.StatusNoContent)
	})
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan wire.LockEvent, 8)
	ended := make(chan error, 1)
	go func() { ended <- app.Watch(ctx, func(e wire.LockEvent) { seen <- e }) }()
	for range 2 {
		if got := <-locked; got != "wrong page" {
			t.Errorf("the barrel was locked for %q", got)
		}
	}
	if e := <-seen; e.Lock != 3 || e.Barrel != "SB-0001" {
		t.Errorf("seen %+v", e)
	}
	for range 2 {
		if got := <-acks; got != "3" {
			t.Errorf("acknowledged %s", got)
		}
	}
	app.mu.Lock()
	if app.local != nil {
		t.Error("the local link is still open")
	}
	app.mu.Unlock()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("watch ended with %v", err)
	}
	if len(locked) != 0 || len(seen) != 0 {
		t.Error("a repeated event was carried out again")
	}
}

func TestReadEvents(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		want         []event
		err          error
	}{
		{"nothing", "", nil, io.ErrUnexpectedEOF},
		{"comments only", ": a\n\n: b\n\n", nil, io.ErrUnexpectedEOF},
		{"one", "event: lock\ndata: {}\n\n", []event{{"lock", "{}"}}, io.ErrUnexpectedEOF},
		{"without space, with CR", "event:lock\r\ndata:{}\r\n\r\n", []event{{"lock", "{}"}}, io.ErrUnexpectedEOF},
		{"two lines of data", "data: a\ndata: b\n\n", []event{{"", "a\nb"}}, io.ErrUnexpectedEOF},
		{"without data", "event: lock\n\ndata: x\n\n", []event{{"", "x"}}, io.ErrUnexpectedEOF},
		{"cut off", "data: x\n\ndata: y\n", []event{{"", "x"}}, io.ErrUnexpectedEOF},
		{"line too long", "data: " + strings.Repeat("x", maxEventLine) + "\n\n", nil, errEventTooLong},
		{"too many lines", strings.Repeat("data: "+strings.Repeat("x", 32<<10)+"\n", 9), nil, errEventTooLong},
	} {
		var got []event
		err := readEvents(strings.NewReader(c.stream), func(e event) error { got = append(got, e); return nil })
		if !errors.Is(err, c.err) || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	stop := errors.New("stop")
	if err := readEvents(strings.NewReader("data: x\n\n"), func(event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add([]byte("event: lock\ndata: {}\n\n: comment\n\n"))
	f.Add([]byte("data\n\ndata:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := readEvents(bytes.NewReader(b), func(event) error { return nil }); err == nil {
			t.Error("a stream ended without an error")
		}
	})
}
