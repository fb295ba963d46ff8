package wireguard

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Which datagrams go as segments of one message.
func TestPlan(t *testing.T) {
	many := slices.Repeat([]int{1400}, burst)
	for _, c := range []struct {
		name          string
		longest       int
		sizes         []int
		messages      []int // datagrams in each
		segmentLength int   // of the first message; 0: none
	}{
		{"one", maxPayload, []int{100}, []int{1}, 0},
		{"alike", maxPayload, []int{100, 100, 100}, []int{3}, 100},
		{"a shorter one ends it", maxPayload, []int{100, 100, 60, 60, 60}, []int{3, 2}, 100},
		{"a longer one doesn't fit", maxPayload, []int{60, 100, 100, 60, 100}, []int{1, 3, 1}, 0},
		{"by length", maxPayload, many, []int{46, burst - 46}, 1400},
		{"by number", maxPayload, slices.Repeat([]int{32}, maxSegments), []int{maxSegments}, 32},
		{"too long for segments", 99, []int{100, 100, 99, 99, 100}, []int{1, 1, 2, 1}, 0},
		{"no segments", 0, []int{100, 100}, []int{1, 1}, 0},
	} {
		var bufs [][]byte
		for _, size := range c.sizes {
			bufs = append(bufs, make([]byte, size))
		}
		var v volley
		v.plan(bufs, c.longest)
		var messages []int
		for i := range v.n {
			messages = append(messages, int(v.headers[i].hdr.Iovlen))
		}
		length := 0
		if v.headers[0].hdr.Controllen > 0 {
			length = int(v.controls[0].data[0]) | int(v.controls[0].data[1])<<8
		}
		if !slices.Equal(messages, c.messages) || length != c.segmentLength {
			t.Errorf("%s: messages of %v datagrams, segments of %d; want %v, %d", c.name, messages, length, c.messages, c.segmentLength)
		}
	}
}

// Datagrams of all lengths, sent in volleys, arrive whole and in order, with the right
// sender; where the kernel can, many in a slot.
func TestVolleys(t *testing.T) {
	if os.Getenv(narrow) != "" {
		if out, err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "mtu", "1300", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	from, fromAt := loopbackConn(t)
	to, at := loopbackConn(t)
	_, out := openBatches(from)
	in, _ := openBatches(to)
	var places places
	b := &batch{b: make([]byte, slots*slotSize)}
	for _, sizes := range [][]int{
		{32}, slices.Repeat([]int{1432}, 200), {1432, 1432, 80, 80, 80, 1432, 32, 1000}, slices.Repeat([]int{64, 65}, 70),
	} {
		var bufs [][]byte
		for i, size := range sizes {
			bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, size))
		}
		if lost, err := out.send(bufs, at); lost != 0 || err != nil {
			t.Fatalf("%d lost: %v", lost, err)
		}
		var all [][]byte
		for len(all) < len(bufs) {
			if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if err := in.read(b, places.at); err != nil {
				t.Fatal(err)
			}
			p := &port{from: b}
			for p.slot < b.n {
				if b.eps[p.slot].addr != fromAt {
					t.Fatalf("from %v, want %v", b.eps[p.slot].addr, fromAt)
				}
				all = append(all, bytes.Clone(p.next()))
			}
		}
		if !same(all, bufs...) {
			t.Errorf("%d datagrams came, %d were sent, and they differ", len(all), len(bufs))
		}
	}
	if longest := out.(*batchSender).longest.Load(); os.Getenv(narrow) != "" && longest != 1431 {
		t.Errorf("segments up to %d octets where 1432 don't fit", longest)
	}
}

// kernel answers a volley instead of the system: it takes no segments longer than mtu,
// and fails messages whose first octet is bad with err.
func kernel(s *batchSender, mtu int, bad byte, err syscall.Errno) (sent *[][]byte, calls *int) {
	sent, calls = new([][]byte), new(int)
	v := new(volley)
	v.step = func(uintptr) bool {
		*calls++
		v.sent, v.errno = 0, 0
		for i := v.at; i < v.n; i++ {
			h := &v.headers[i].hdr
			parts := unsafeParts(h)
			switch {
			case len(parts) > 1 && len(parts[0]) > mtu:
				v.errno = unix.EINVAL
			case parts[0][0] == bad:
				v.errno = err
			}
			if v.errno != 0 {
				if v.sent > 0 {
					v.errno = 0 // told next time, as sendmmsg(2) does
				}
				return true
			}
			*sent = append(*sent, parts...)
			v.sent++
		}
		return true
	}
	s.pool.Put(v)
	return sent, calls
}

// A way out with less room than a segment gets datagrams one by one, from then on
// without trying; what fails for itself is lost alone.
func TestSegmentsThatDontFit(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's pool forgets what is put into it")
	}
	c, at := loopbackConn(t)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	make := func(first byte, size, n int) (bufs [][]byte) {
		for range n {
			bufs = append(bufs, bytes.Repeat([]byte{first}, size))
		}
		return bufs
	}
	s := &batchSender{raw: raw}
	s.longest.Store(maxPayload)
	sent, calls := kernel(s, 1000, 9, unix.EPERM)
	bufs := append(make(1, 500, 3), make(2, 1400, 5)...)
	if lost, err := s.send(bufs, at); lost != 0 || err != nil || !same(*sent, bufs...) {
		t.Errorf("%d lost, error %v, %d sent", lost, err, len(*sent))
	}
	if s.longest.Load() != 1399 {
		t.Errorf("segments up to %d octets, want 1399", s.longest.Load())
	}
	*sent, *calls = nil, 0
	if lost, err := s.send(bufs, at); lost != 0 || err != nil || !same(*sent, bufs...) || *calls != 1 {
		t.Errorf("again: %d lost, error %v, %d sent with %d calls", lost, err, len(*sent), *calls)
	}
	*sent = nil
	good := append(make(1, 100, 2), make(3, 80, 1)...)
	bufs = append(append(make(9, 100, 2)[:1:1], good...), make(9, 90, 1)...)
	if lost, err := s.send(bufs, at); err != syscall.Errno(unix.EPERM) || lost+len(*sent) != len(bufs) {
		t.Errorf("%d lost, %d sent of %d, error %v", lost, len(*sent), len(bufs), err)
	}
	if s.longest.Load() != 1399 {
		t.Error("a failure that has nothing to do with segments changed them")
	}
	if lost, err := s.send(good, netip.MustParseAddrPort("[2001:db8::1]:1")); lost != len(good) || err == nil {
		t.Errorf("to an address of another family: %d lost, error %v", lost, err)
	}
	c.Close()
	if lost, err := s.send(good, at); lost != len(good) || err == nil {
		t.Errorf("on a closed socket: %d lost, error %v", lost, err)
	}
}

// unsafeParts reads the datagrams of a message.
func unsafeParts(h *unix.Msghdr) (parts [][]byte) {
	for _, v := range unsafe.Slice(h.Iov, h.Iovlen) {
		parts = append(parts, unsafe.Slice(v.Base, v.Len))
	}
	return parts
}

// narrow is set in the environment of a test that runs in a network of its own, whose
// only interface has less room than the test's datagrams.
const narrow = "SEALEDGE_TEST_NARROW"

// Where datagrams have to be fragmented, they can't be segments, and arrive all the
// same: TestVolleys on an interface with an MTU of 1300.
func TestVolleysThroughASmallMTU(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestVolleys$", "-test.v")
	cmd.Env = append(os.Environ(), narrow+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestVolleys")) {
		t.Errorf("%v\n%s", err, out)
	}
}
