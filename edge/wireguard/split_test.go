package wireguard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

// oneKey is a port of a key, without a device.
func oneKey(gateway [32]byte, mtu int, others ...*port) *port {
	p := &port{
		bind:   &bind{count: new(counters), mac1: newMAC1Key(gateway), room: roomFor(mtu), id: uint32(len(others) + 1), own: new(owners)},
		socket: new(socket), in: make(chan *batch), closed: make(chan struct{}),
	}
	ports := append(others, p)
	p.socket.ports.Store(&ports)
	return p
}

// batchOf puts datagrams into slots; segments tells for each slot how long its parts
// are, 0 if it is one.
func batchOf(home chan *batch, slots [][]byte, segments []int) *batch {
	b := &batch{n: len(slots), b: make([]byte, len(slots)*slotSize), home: home}
	for i, s := range slots {
		b.sizes[i] = copy(b.b[i*slotSize:(i+1)*slotSize], s)
		b.segments[i] = segments[i]
		b.eps[i] = &endpoint{attacker(i)}
	}
	b.refs.Store(1)
	return b
}

type got struct {
	b    []byte
	from netip.AddrPort
}

// receiveAll takes all of a batch, room at a time.
func receiveAll(t testing.TB, p *port, b *batch, room int) (all []got) {
	t.Helper()
	p.from, p.slot, p.at = b, 0, 0
	close(p.closed) // so that the end of the batch ends this
	packets, sizes, eps := make([][]byte, room), make([]int, room), make([]conn.Endpoint, room)
	for i := range packets {
		packets[i] = make([]byte, device.MaxMessageSize)
	}
	for {
		n, err := p.receive(packets, sizes, eps)
		if errors.Is(err, net.ErrClosed) {
			return all
		}
		if err != nil || n == 0 || n > room {
			t.Fatalf("%d datagrams, error %v", n, err)
		}
		for i := range n {
			d := packets[i][:sizes[i]]
			from := eps[i].(*endpoint).addr
			// As the device gives it back: decrypted, and so shorter.
			if s := stamped(packets[i][:min(len(d), device.MessageTransportHeaderSize)], p.room); s != from {
				t.Fatalf("stamped %v, came from %v", s, from)
			}
			all = append(all, got{bytes.Clone(d), from})
		}
	}
}

func TestReceiveSplits(t *testing.T) {
	_, gw := key(t, gatewaySeed)
	_, other := key(t, newSeed)
	data := func(n int, fill byte) []byte {
		b := bytes.Repeat([]byte{fill}, n)
		copy(b, []byte{device.MessageTransportType, 0, 0, 0})
		return b
	}
	mine, foreign := junk(gw), junk(other)
	cut := junk(gw)[:147]
	slots := [][]byte{
		bytes.Join([][]byte{data(100, 1), data(100, 2), data(40, 3)}, nil), // two and a shorter one
		data(100, 4),
		mine,
		foreign,
		cut,
		bytes.Join([][]byte{mine, foreign, mine}, nil),
		{},           // an empty datagram
		data(300, 5), // as many as fit
		data(nearRoom+1, 6),
	}
	segments := []int{100, 0, 0, 0, 0, len(mine), 0, 100, 0}
	want := [][]byte{data(100, 1), data(100, 2), data(40, 3), data(100, 4), mine, mine, mine, {}}
	seven := data(300, 5)
	want = append(want, seven[:100], seven[100:200], seven[200:])
	for _, room := range []int{1, 2, 3, burst} {
		home := make(chan *batch, 1)
		p := oneKey(gw, DefaultMTU)
		all := receiveAll(t, p, batchOf(home, slots, segments), room)
		if len(all) != len(want) {
			t.Fatalf("room for %d: %d datagrams, want %d", room, len(all), len(want))
		}
		for i := range all {
			if !bytes.Equal(all[i].b, want[i]) {
				t.Errorf("room for %d: datagram %d is %x, want %x", room, i, all[i].b, want[i])
			}
		}
		if all[0].from != attacker(0) || all[3].from != attacker(1) || all[10].from != attacker(7) {
			t.Errorf("senders %v", all)
		}
		if len(home) != 1 {
			t.Error("the batch isn't given back")
		}
		if long, foreign := p.count[dropTooLong].Load(), p.count[dropOtherKey].Load(); long != 1 || foreign != 3 {
			t.Errorf("counted %d too long and %d of another key", long, foreign)
		}
	}
	// With a second key what isn't for one is for the other, or nobody's: nothing is counted.
	p := oneKey(gw, 9000, oneKey(other, 9000))
	all := receiveAll(t, p, batchOf(make(chan *batch, 1), slots, segments), burst)
	if len(all) != len(want)+1 || p.count[dropOtherKey].Load() != 0 {
		t.Errorf("%d datagrams with a second key and a large MTU", len(all))
	}
}

// With two keys a datagram of a session goes to the device that has it; of which that
// isn't known, to both.
func TestReceiveByIndex(t *testing.T) {
	_, gw := key(t, gatewaySeed)
	_, other := key(t, newSeed)
	message := func(kind byte, index uint32) []byte {
		b := make([]byte, 148)
		b[0] = kind
		binary.LittleEndian.PutUint32(b[4:], index)
		return b
	}
	const table = uint32(1 << 13)
	first := oneKey(gw, DefaultMTU)
	var all owners
	first.own = &all
	first.notes(message(device.MessageInitiationType, 7))
	first.notes(message(device.MessageResponseType, 8))
	first.notes(message(device.MessageResponseType, 0))
	first.notes(message(device.MessageInitiationType, 1<<31+5))
	first.notes(message(device.MessageResponseType, 20))
	second := oneKey(other, DefaultMTU, first)
	second.own, first.socket = &all, second.socket
	second.notes(message(device.MessageResponseType, 9))
	second.notes(message(device.MessageResponseType, 1<<31+5)) // by chance the same
	second.notes(message(device.MessageResponseType, 20+table))
	second.notes(message(device.MessageCookieReplyType, 30)) // the receiver's index, not ours
	for index, want := range map[uint32][2]bool{
		7: {true, false}, 8: {true, false}, 0: {true, false}, 9: {false, true},
		1<<31 + 5: {true, true}, 20: {true, true}, 20 + table: {false, true}, 30: {true, true}, 99: {true, true},
	} {
		for _, kind := range []byte{device.MessageTransportType, device.MessageCookieReplyType} {
			d := message(kind, index)
			if got := [2]bool{first.concerns(d), second.concerns(d)}; got != want {
				t.Errorf("index %d, type %d: %v, want %v", index, kind, got, want)
			}
		}
	}
	// When the other key is gone, so is what it was good for.
	alone := []*port{first}
	first.socket.ports.Store(&alone)
	if !first.concerns(message(device.MessageTransportType, 9)) {
		t.Error("a device alone gets not all")
	}
}

// Whatever lies in a batch, each datagram is given to the device once, in order and
// whole, or not at all for a reason.
func FuzzSplit(f *testing.F) {
	_, gw := key(f, gatewaySeed)
	f.Add([]byte{}, uint16(0), uint8(1))
	f.Add(bytes.Repeat([]byte{4, 0, 0, 0, 1, 1, 1, 1}, 40), uint16(32), uint8(3))
	f.Add(append(junk(gw), junk(gw)...), uint16(148), uint8(64))
	f.Add(junk(gw)[:100], uint16(7), uint8(2))
	f.Add(make([]byte, 5000), uint16(0), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, segment uint16, room uint8) {
		if len(b) > 65507 {
			return
		}
		p := oneKey(gw, DefaultMTU)
		home := make(chan *batch, 1)
		all := receiveAll(t, p, batchOf(home, [][]byte{b, b}, []int{int(segment), int(segment)}), int(room)%burst+1)
		var want [][]byte
		for range 2 {
			for rest := b; ; {
				d := rest
				if segment > 0 && len(rest) > int(segment) {
					d = rest[:segment]
				}
				rest = rest[len(d):]
				handshake := len(d) >= 32 && (d[0] == 1 || d[0] == 2)
				if len(d) <= nearRoom && (!handshake || p.mac1.verifies(d)) {
					want = append(want, d)
				}
				if len(rest) == 0 {
					break
				}
			}
		}
		if len(all) != len(want) {
			t.Fatalf("%d datagrams, want %d", len(all), len(want))
		}
		for i := range all {
			if !bytes.Equal(all[i].b, want[i]) {
				t.Fatalf("datagram %d is %x, want %x", i, all[i].b, want[i])
			}
		}
		if len(home) != 1 {
			t.Fatal("the batch isn't given back")
		}
	})
}

// However many senders there are, each datagram has its own.
func TestPlaces(t *testing.T) {
	var p places
	for range 2 {
		for i := range 5000 {
			if got := p.at(attacker(i)).addr; got != attacker(i) {
				t.Fatalf("%v taken for %v", attacker(i), got)
			}
		}
	}
}

// A packet costs no allocation: not on its way up, from the socket's batch to the inner
// network, nor on its way down to the device's queue.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	e, err := New(Config{Uplink: func([][]byte) {}, OnAuthenticated: func([32]byte, netip.AddrPort) {}, Answer: echoProbe})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	setKeys(t, e, gatewaySeed)
	_, pub := key(t, 1)
	if err := e.SetPeers([]Peer{{PublicKey: pub, Address: phoneA, Active: true}}); err != nil {
		t.Fatal(err)
	}
	k := (*e.keys.Load())[0]
	data := append(make([]byte, 16), ip(phoneA, gateway, 1000, 1)...)
	bufs := make([][]byte, burst)
	for i := range bufs {
		bufs[i] = make([]byte, device.MaxMessageSize)
		copy(bufs[i], data)
		stamp(bufs[i][k.bind.room:], attacker(1))
	}
	work := make([][]byte, burst)
	if n := testing.AllocsPerRun(100, func() {
		for i := range work {
			work[i] = bufs[i][:len(data)]
		}
		k.tun.Write(work, 16)
	}); n != 0 {
		t.Errorf("%v allocations for %d packets up", n, burst)
	}

	var places places
	if n := testing.AllocsPerRun(100, func() { places.at(attacker(1)) }); n != 0 {
		t.Errorf("%v allocations for the sender of a datagram", n)
	}

	tun := newTunnel(DefaultMTU, nil)
	pkt, sizes := ip(gateway, phoneA, 1000, 1), make([]int, burst)
	if n := testing.AllocsPerRun(100, func() {
		for range burst {
			tun.send(copied(pkt))
		}
		if n, err := tun.Read(bufs, sizes, 16); n != burst || err != nil {
			t.Error(n, err)
		}
	}); n > 1 { // the pool may have been emptied
		t.Errorf("%v allocations for %d packets down", n, burst)
	}
}
