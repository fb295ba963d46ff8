package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/sealedge/sealedge/policy/ident"
)

const followed, other = "460010000000001", "460010000000002"

func imsi(t *testing.T) ident.IMSI {
	t.Helper()
	id, err := ident.ParseIMSI(followed)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func event(of, comment string, sent bool) Event {
	return Event{
		Time: time.Now(), Sent: sent, IMSI: of, Comment: comment,
		Local: netip.MustParseAddrPort("127.0.10.1:2123"), Peer: netip.MustParseAddrPort("127.0.20.1:40000"),
		Datagram: []byte{0x40, 1, 0, 9, 0, 0, 1, 0, 3, 0, 1, 0, 5},
	}
}

// running follows until the test ends it, and returns what was written.
func running(t *testing.T, tr *Tracer, w io.Writer, l Limits) (stop context.CancelFunc, done <-chan Summary) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ch := make(chan Summary, 1)
	id := imsi(t)
	go func() {
		s, err := tr.Follow(ctx, id, w, l, nil)
		if err != nil {
			t.Error(err)
		}
		ch <- s
	}()
	synctest.Wait()
	return cancel, ch
}

type packet struct {
	from, to string
	payload  []byte
	comments []string
}

func read(t *testing.T, capture []byte) (out []packet) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(capture), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
		ip, udp := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4), p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		out = append(out, packet{
			from: ip.SrcIP.String() + ":" + udp.SrcPort.String(), to: ip.DstIP.String() + ":" + udp.DstPort.String(),
			payload: udp.Payload, comments: options.Comments,
		})
	}
}

func TestFollowsOneSubscriberWithDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(Tracer)
		var out bytes.Buffer
		stop, done := running(t, tr, &out, Limits{})
		tr.Observe(event(other, "not this one", false))
		tr.Observe(event("", "nobody", false))
		tr.Observe(event(followed, "admitted", false))
		tr.Observe(event(followed, "", true))
		synctest.Wait()
		stop()
		if s := <-done; s.Packets != 2 || s.End != EndReader || s.Bytes != int64(out.Len()) {
			t.Errorf("%+v, %d bytes", s, out.Len())
		}
		got := read(t, out.Bytes())
		if len(got) != 2 || !strings.HasPrefix(got[0].from, "127.0.20.1:40000") || !strings.HasPrefix(got[1].from, "127.0.10.1:2123") {
			t.Fatalf("%+v", got)
		}
		if len(got[0].comments) != 1 || got[0].comments[0] != "admitted" || len(got[1].comments) != 0 {
			t.Errorf("comments: %q, %q", got[0].comments, got[1].comments)
		}
		if !bytes.Equal(got[0].payload, event(followed, "", false).Datagram) {
			t.Errorf("payload % x", got[0].payload)
		}
		if tr.Following() {
			t.Error("still following")
		}
	})
}

// Who follows a subscriber doesn't learn its password.
func TestPasswordsAreHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(Tracer)
		var out bytes.Buffer
		stop, done := running(t, tr, &out, Limits{})
		e := event(followed, "", false)
		options := append([]byte{0x80, 0xc0, 0x23, 16, 1, 7, 0, 16, 4}, "seal\x06secret"...)
		e.Datagram = append([]byte{0x48, 32, 0, byte(8 + 4 + len(options)), 0, 0, 0, 0, 0, 0, 1, 0, 78, 0, byte(len(options)), 0}, options...)
		tr.Observe(e)
		synctest.Wait()
		stop()
		<-done
		if got := read(t, out.Bytes()); len(got) != 1 || len(got[0].payload) != len(e.Datagram) || !bytes.Contains(got[0].payload, []byte("seal\x06******")) {
			t.Errorf("%q", got)
		}
		if !bytes.HasSuffix(e.Datagram, []byte("secret")) {
			t.Error("the message itself was changed")
		}
	})
}

func TestEndsByTimeAndSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(Tracer)
		_, done := running(t, tr, io.Discard, Limits{Time: time.Minute})
		start := time.Now()
		if s := <-done; s.End != EndTime || time.Since(start) != time.Minute {
			t.Errorf("%+v after %v", s, time.Since(start))
		}

		var out bytes.Buffer
		_, done = running(t, tr, &out, Limits{Bytes: 4096})
		for range 200 {
			tr.Observe(event(followed, strings.Repeat("x", 100), false))
			synctest.Wait()
		}
		if s := <-done; s.End != EndBytes || out.Len() > 4096 || s.Packets == 0 {
			t.Errorf("%+v, %d bytes", s, out.Len())
		}
	})
}

// slow is a reader that takes one write and then waits.
type slow struct {
	bytes.Buffer
	resume chan struct{}
	n      int
}

func (s *slow) Write(b []byte) (int, error) {
	if s.n++; s.n == 2 { // the first packet
		<-s.resume
	}
	return s.Buffer.Write(b)
}

func TestASlowReaderLosesAndKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(Tracer)
		out := &slow{resume: make(chan struct{})}
		stop, done := running(t, tr, out, Limits{})
		for range backlog + 51 {
			tr.Observe(event(followed, "", false)) // never blocks
		}
		synctest.Wait()
		close(out.resume)
		synctest.Wait()
		tr.Observe(event(followed, "", false))
		synctest.Wait()
		stop()
		s := <-done
		if s.Lost == 0 || s.Packets+s.Lost != backlog+52 {
			t.Errorf("%+v", s)
		}
		var told bool
		for _, p := range read(t, out.Bytes()) {
			for _, c := range p.comments {
				told = told || strings.Contains(c, "are missing")
			}
		}
		if !told {
			t.Error("the capture doesn't say that messages are missing")
		}
	})
}

func TestNumberIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(Tracer)
		for range MostTraces {
			running(t, tr, io.Discard, Limits{Time: time.Second})
		}
		if _, err := tr.Follow(t.Context(), imsi(t), io.Discard, Limits{}, nil); !errors.Is(err, ErrTooMany) {
			t.Errorf("got %v", err)
		}
	})
}

func TestIPv6(t *testing.T) {
	e := event(followed, "", true)
	e.Local, e.Peer = netip.MustParseAddrPort("[fd00::1]:2123"), netip.MustParseAddrPort("[fd00::2]:2123")
	b, err := encapsulate(e)
	if err != nil {
		t.Fatal(err)
	}
	p := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
	if u, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); !ok || u.DstPort != 2123 || !bytes.Equal(u.Payload, e.Datagram) {
		t.Errorf("%v", p)
	}
}
