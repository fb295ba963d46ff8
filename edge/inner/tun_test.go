package inner

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// wire is a device in memory.
type wire struct {
	wrote [][]byte
	done  chan struct{}
}

func (w *wire) write(parts [][]byte) error {
	w.wrote = append(w.wrote, bytes.Join(parts, nil))
	return nil
}

func (w *wire) Read([]byte) (int, error) {
	<-w.done
	return 0, os.ErrClosed
}

func (w *wire) Close() error {
	close(w.done)
	return nil
}

// keeper is a terminal.
type keeper struct{ pkts [][]byte }

func (k *keeper) Send(pkt []byte) error {
	k.pkts = append(k.pkts, bytes.Clone(pkt))
	return nil
}

// byWire is a network of driver tun whose kernel is the test.
func byWire(t *testing.T) (*Network, *tunDriver, *wire, *keeper) {
	n, _ := recording(t)
	w, k := &wire{done: make(chan struct{})}, new(keeper)
	d := startTUN(n, w, func(string, string, syscall.RawConn) error { return nil })
	n.driver = d
	n.SetRoute(netip.PrefixFrom(theirs4, 32), k)
	n.SetRoute(netip.PrefixFrom(theirs6, 64), k)
	return n, d, w, k
}

// The kernel never sees an echo request: it is answered here, if its checksum is
// right.
func TestTUNAnswersEchoes(t *testing.T) {
	for name, a := range families {
		t.Run(name, func(t *testing.T) {
			n, _, w, k := byWire(t)
			f := familyOf(a[0])
			body := append([]byte{f.echoRequest, 0, 0, 0, 1, 2, 3, 4}, pattern(333)...)
			request := raw(a[0], a[1], f.icmp, body...)
			ip := len(request) - len(body)
			sumICMP := func(pkt []byte) uint16 {
				sum := checksum.Checksum(pkt[ip:], 0)
				if a[0].Is6() {
					sum = checksum.Combine(sum, checksum.Checksum(pkt[8:40], 58+uint16(len(body))))
				}
				return sum
			}
			binary.BigEndian.PutUint16(request[ip+2:], ^sumICMP(request))
			n.Deliver(request)
			if len(k.pkts) != 1 || len(w.wrote) != 0 {
				t.Fatalf("%d answers, %d packets for the kernel", len(k.pkts), len(w.wrote))
			}
			answer := k.pkts[0]
			want := raw(a[1], a[0], f.icmp, body...)
			want[ip] = f.echoReply
			copy(want[ip+2:ip+4], answer[ip+2:ip+4])
			if !bytes.Equal(answer, want) || sumICMP(answer) != 0xffff {
				t.Errorf("answer %x, want %x with a right checksum", answer, want)
			}
			request[len(request)-1] ^= 1
			n.Deliver(request)
			if len(k.pkts) != 1 || len(w.wrote) != 0 || n.Counters()["malformed"] != 1 {
				t.Error("a broken request was answered, or given to the kernel")
			}
		})
	}
}

// What was put together goes to the kernel with what it needs to know, and what
// it sends in one comes out in segments.
func TestTUNOffloads(t *testing.T) {
	for name, a := range families {
		t.Run(name, func(t *testing.T) {
			n, d, w, k := byWire(t)
			d.listening.add(443)
			long := segment(a[0], a[1], 5000, 1, tcpACK, pattern(10_000), nil)
			ip := len(long) - 10_000 - 32
			var cut [][]byte
			if err := segments([][]byte{long}, 1000, func(pkts [][]byte) {
				for _, p := range pkts {
					cut = append(cut, bytes.Clone(p))
				}
			}); err != nil {
				t.Fatal(err)
			}
			n.DeliverAll(cut)
			if len(w.wrote) != 1 {
				t.Fatalf("%d packets for the kernel", len(w.wrote))
			}
			head := w.wrote[0][:vnetLen]
			order := binary.NativeEndian
			kind := byte(vnetGSOTCPv4)
			if a[0].Is6() {
				kind = vnetGSOTCPv6
			}
			want := []byte{vnetNeedsSum, kind}
			for _, v := range []int{ip + 32, 1000, ip, 16} {
				want = order.AppendUint16(want, uint16(v))
			}
			if !bytes.Equal(head, want) {
				t.Errorf("virtio header %x, want %x", head, want)
			}
			pkt := bytes.Clone(w.wrote[0][vnetLen:])
			finish(pkt, ip) // as the kernel would
			if sum := ^pseudoSum(long, len(long)-ip); order.Uint16(head[8:]) != 16 || ^binary.BigEndian.Uint16(w.wrote[0][vnetLen+ip+16:]) != sum {
				t.Errorf("the checksum isn't the pseudo header's")
			}
			if !bytes.Equal(pkt, long) {
				t.Error("the packet isn't the one that was cut")
			}

			down := segment(a[1], a[0], 443, 1, tcpACK, pattern(10_000), nil)
			d.leave(append(bytes.Clone(want), down...))
			if len(k.pkts) != 10 {
				t.Fatalf("%d segments went down, want 10", len(k.pkts))
			}
			for i, b := range k.pkts {
				p, _ := parse(b)
				if h := tcpHeaders(p); h == 0 || !tcpSumRight(p, h, checksum.Checksum(b[h:], 0)) {
					t.Errorf("segment %d has a wrong checksum", i)
				}
			}
		})
	}
}

// What the kernel says by itself stays here.
func TestTUNKernelIsSilent(t *testing.T) {
	for _, c := range []struct {
		name  string
		pkt   []byte
		leave bool
	}{
		{"answer", raw(ours4, theirs4, protocolUDP, make([]byte, 8)...), true},
		{"answer over IPv6", raw(ours6, theirs6, protocolUDP, make([]byte, 8)...), true},
		{"of another address", raw(netip.MustParseAddr("192.0.2.1"), theirs4, protocolUDP, make([]byte, 8)...), false},
		{"of another address over IPv6", raw(netip.MustParseAddr("2001:db8::9"), theirs6, protocolUDP, make([]byte, 8)...), false},
		{"of another terminal", raw(netip.MustParseAddr("10.90.0.3"), theirs4, protocolUDP, make([]byte, 8)...), false},
		{"unreachable", raw(ours4, theirs4, 1, 3, 3, 0, 0, 0, 0, 0, 0), false},
		{"listener report", raw(ours6, theirs6, 58, 143, 0, 0, 0), false},
		{"empty", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, d, _, k := byWire(t)
			d.leave(append(make([]byte, vnetLen), c.pkt...))
			if got := len(k.pkts) == 1; got != c.leave {
				t.Errorf("left: %v", got)
			}
		})
	}
	_, d, _, k := byWire(t)
	d.leave(make([]byte, 3))
	d.leave(append([]byte{0, 9, 0, 0, 0, 0, 0, 0, 0, 0}, raw(ours4, theirs4, protocolUDP, make([]byte, 8)...)...))
	d.leave(append([]byte{1, 0, 0, 0, 0, 0, 0xff, 0, 0xff, 0}, raw(ours4, theirs4, protocolUDP, make([]byte, 8)...)...))
	d.leave(append([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, raw(ours4, theirs4, protocolUDP, make([]byte, 8)...)...))
	if len(k.pkts) != 0 {
		t.Error("a packet with a broken virtio header left")
	}
}

// A connection to a port that isn't listened at any more doesn't reach whatever
// else the kernel may have there; what goes on does.
func TestTUNClosedPort(t *testing.T) {
	n, d, w, _ := byWire(t)
	syn := segment(theirs4, ours4, 5000, 1, 0x02, nil, nil)
	rose := func() int { return len(w.wrote) }
	d.listening.add(443)
	n.Deliver(syn)
	if rose() != 1 {
		t.Fatal("a new connection was dropped")
	}
	d.listening.remove(443)
	n.Deliver(syn)
	if rose() != 1 || n.Counters()["tcp-port"] != 1 {
		t.Error("a new connection to a closed port was let through")
	}
	n.Deliver(segment(theirs4, ours4, 5000, 1, tcpACK, pattern(10), nil))
	if rose() != 2 {
		t.Error("an accepted connection was cut off")
	}
}
