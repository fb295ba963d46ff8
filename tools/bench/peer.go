package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv4"
)

// peerCommand makes this program the yardstick of the user plane: a UDP echo
// in plain Go, a process of its own as the gateway is one.
const peerCommand = "udp-echo"

func runPeer() error {
	conn, err := listen(peerAddress)
	if err != nil {
		return err
	}
	b := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		_, _ = conn.WriteToUDPAddrPort(b[:n], from) // a lost packet is counted where it is missed
	}
}

// socketBuffer is what the gateway and the carrier ask for.
const socketBuffer = 4 << 20

func listen(at netip.AddrPort) (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(socketBuffer)
	_ = conn.SetWriteBuffer(socketBuffer)
	return conn, nil
}

// peer measures the echo with datagrams as long as G-PDUs of the size, sent
// and counted as those are.
func (b *bench) peer(ctx context.Context, size int) (Figure, error) {
	self, err := os.Executable()
	if err != nil {
		return Figure{}, err
	}
	p, err := start(b.dir, "peer", self, peerCommand)
	if err != nil {
		return Figure{}, err
	}
	defer p.stop()
	conn, err := listen(netip.AddrPortFrom(carrierAddress, 0))
	if err != nil {
		return Figure{}, err
	}
	defer conn.Close()
	batch := ipv4.NewPacketConn(conn)
	w := newWindow(inFlight)
	go func() {
		in := make([]ipv4.Message, burstSize)
		for i := range in {
			in[i].Buffers = [][]byte{make([]byte, 65535)}
		}
		for {
			n, err := batch.ReadBatch(in, 0)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			for range n {
				w.returned()
			}
		}
	}()
	to := net.UDPAddrFromAddrPort(peerAddress)
	out := make([]ipv4.Message, burstSize)
	for i := range out {
		out[i] = ipv4.Message{Buffers: [][]byte{make([]byte, size+gtpHeader)}, Addr: to}
	}
	send := func() error {
		for rest := out; len(rest) > 0; {
			n, err := batch.WriteBatch(rest, 0)
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	}
	if err := awaitPeer(ctx, p, w, send); err != nil {
		return Figure{}, err
	}
	var runs [][]sample
	for range b.runs {
		before, err := p.cpu()
		if err != nil {
			return Figure{}, err
		}
		sent, took, err := w.run(b.time/2, burstSize, send)
		if err != nil {
			return Figure{}, err
		}
		after, err := p.cpu()
		if err != nil {
			return Figure{}, err
		}
		runs = append(runs, packets(sent*burstSize, size, took, after-before, per(float64(w.lost), float64(sent*burstSize))))
	}
	return figure("plane", 0, fmt.Sprintf("%d bytes, peer: UDP echo in Go", size), runs), nil
}

// awaitPeer sends until the peer answers. Sending to a port that isn't open
// yet fails, which is no reason to stop.
func awaitPeer(ctx context.Context, p *process, w *window, send func() error) error {
	for range 100 {
		if err := errors.Join(ctx.Err(), p.ended()); err != nil {
			return err
		}
		if send() == nil {
			select {
			case <-w.wake:
				time.Sleep(patience) // the rest of them
				return nil
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return errors.New("the UDP echo does not answer")
}
