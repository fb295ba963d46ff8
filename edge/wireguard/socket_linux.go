package wireguard

import (
	"cmp"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// control is a control message with the size of a segment: 2 bytes when sent, an int
// when received (udp(7), UDP_SEGMENT, UDP_GRO).
type control struct {
	unix.Cmsghdr
	data [8]byte
}

const controlSize = int(unsafe.Sizeof(control{}))

// openBatches reads and sends many datagrams with a system call where c is a UDP
// socket at an IPv4 address. (golang.org/x/net's batches would do, but allocate the
// sender's address for each datagram, and copy datagrams together to send them as
// segments.)
func openBatches(c Conn) (reader, sender) {
	u, ok := c.(*net.UDPConn)
	if !ok {
		return single{c}, single{c}
	}
	raw, err := u.SyscallConn()
	if a, v4 := u.LocalAddr().(*net.UDPAddr); err != nil || !v4 || a.IP.To4() == nil {
		return single{c}, single{c}
	}
	in, out := &batchReader{raw: raw}, &batchSender{raw: raw}
	in.step = in.recvmmsg
	_ = raw.Control(func(fd uintptr) {
		// Past the system's limit, which ListenUDP keeps to, where this process may.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
		// A kernel without them gives and takes datagrams one by one.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		if _, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT); err == nil {
			out.longest.Store(maxPayload)
		}
	})
	return in, out
}

// batchReader reads with recvmmsg(2); the kernel may put what one sender sent in a
// row into one slot (UDP_GRO).
type batchReader struct {
	raw      syscall.RawConn
	step     func(fd uintptr) (done bool)
	headers  [slots]mmsghdr
	parts    [slots]unix.Iovec
	names    [slots]unix.RawSockaddrInet4
	controls [slots]control
	n        int
	errno    syscall.Errno
}

func (r *batchReader) read(b *batch, place func(netip.AddrPort) *endpoint) error {
	for i := range r.headers {
		r.parts[i].Base = &b.b[i*slotSize]
		r.parts[i].SetLen(slotSize)
		h := &r.headers[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&r.names[i])), unix.SizeofSockaddrInet4
		h.Iov = &r.parts[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
		h.SetControllen(controlSize)
	}
	if err := r.raw.Read(r.step); err != nil {
		return err
	}
	if r.errno != 0 {
		return os.NewSyscallError("recvmmsg", r.errno)
	}
	b.n = 0
	for i := range r.n {
		h := &r.headers[i]
		size := int(h.n)
		if h.hdr.Flags&unix.MSG_TRUNC != 0 {
			size = 0
		}
		name := &r.names[i]
		port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
		b.sizes[i] = size
		b.segments[i] = r.controls[i].segmentSize(int(h.hdr.Controllen))
		b.eps[i] = place(netip.AddrPortFrom(netip.AddrFrom4(name.Addr), port))
		b.n++
	}
	return nil
}

// recvmmsg runs when the socket may be readable; false waits for that.
func (r *batchReader) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), slots, 0, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		r.n, r.errno = int(n), errno
		return true
	}
}

// segmentSize reads UDP_GRO's control message, of which n bytes came; 0 without one.
func (c *control) segmentSize(n int) int {
	if n < unix.CmsgLen(4) || c.Level != unix.SOL_UDP || c.Type != unix.UDP_GRO {
		return 0
	}
	return int(binary.NativeEndian.Uint32(c.data[:]))
}

// Limits of segments that are sent as one (udp(7)).
const (
	maxSegments = 64
	maxPayload  = 1<<16 - 1 - 20 - 8 // bytes, in IPv4
)

// batchSender sends with sendmmsg(2), datagrams of one length as segments of one
// message (UDP_SEGMENT).
type batchSender struct {
	raw syscall.RawConn
	// longest is the longest datagram in bytes that may be a segment: it can't be
	// fragmented, so the way out may have no room for it.
	longest atomic.Int32
	pool    sync.Pool // of *volley
}

// volley is what one call of send hands to the kernel.
type volley struct {
	step     func(fd uintptr) (done bool)
	headers  [burst]mmsghdr
	parts    [burst]unix.Iovec
	controls [burst]control
	name     unix.RawSockaddrInet4
	at, n    int // messages: the next one, and how many
	sent     int
	errno    syscall.Errno
}

func (s *batchSender) send(bufs [][]byte, to netip.AddrPort) (lost int, err error) {
	if !to.Addr().Is4() && !to.Addr().Is4In6() {
		return len(bufs), unix.EAFNOSUPPORT
	}
	v, _ := s.pool.Get().(*volley)
	if v == nil {
		v = new(volley)
		v.step = v.sendmmsg
	}
	defer s.pool.Put(v)
	v.name = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&v.name.Port))[:], to.Port())
	for len(bufs) > 0 {
		chunk := bufs[:min(len(bufs), burst)]
		bufs = bufs[len(chunk):]
		for len(chunk) > 0 {
			v.plan(chunk, int(s.longest.Load()))
			done, failed := v.fire(s.raw)
			chunk = chunk[done:]
			if failed == nil {
				continue
			}
			datagrams := int(v.headers[v.at].hdr.Iovlen)
			if datagrams > 1 && s.shorten(failed, len(chunk[0])) {
				continue // one by one
			}
			// This message is lost; the others may have better luck.
			lost, err = lost+datagrams, cmp.Or(err, failed)
			chunk = chunk[datagrams:]
		}
	}
	return lost, err
}

// shorten has datagrams of a length that the kernel didn't take as segments be sent
// one by one, and tells whether that was what failed.
func (s *batchSender) shorten(failed error, length int) bool {
	switch failed {
	case syscall.Errno(unix.EINVAL), syscall.Errno(unix.EMSGSIZE):
		s.longest.Store(min(s.longest.Load(), int32(length)-1))
	case syscall.Errno(unix.EIO): // the way out has no checksum offload
		s.longest.Store(0)
	default:
		return false
	}
	return true
}

// plan makes messages of datagrams, in order: those of one length, and a shorter one
// behind them, become segments.
func (v *volley) plan(bufs [][]byte, longest int) {
	v.at, v.n = 0, 0
	for i := 0; i < len(bufs); v.n++ {
		first, size := i, len(bufs[i])
		for total := 0; i < len(bufs); {
			part := &v.parts[i]
			part.Base = &bufs[i][0]
			part.SetLen(len(bufs[i]))
			total += len(bufs[i])
			i++
			if i == len(bufs) || size > longest || len(bufs[i-1]) < size || len(bufs[i]) > size ||
				i-first == maxSegments || total+len(bufs[i]) > maxPayload {
				break
			}
		}
		h := &v.headers[v.n].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&v.name)), unix.SizeofSockaddrInet4
		h.Iov = &v.parts[first]
		h.SetIovlen(i - first)
		h.Control = nil
		h.SetControllen(0)
		if i-first > 1 {
			c := &v.controls[v.n]
			c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
			c.SetLen(unix.CmsgLen(2))
			binary.NativeEndian.PutUint16(c.data[:], uint16(size))
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(unix.CmsgSpace(2))
		}
	}
}

// fire sends what is planned until a message fails; it returns how many datagrams
// went, and leaves at at the message that failed.
func (v *volley) fire(raw syscall.RawConn) (done int, err error) {
	for v.at < v.n {
		if err := raw.Write(v.step); err != nil {
			return done, err
		}
		if v.errno != 0 {
			return done, v.errno
		}
		for range v.sent {
			done += int(v.headers[v.at].hdr.Iovlen)
			v.at++
		}
	}
	return done, nil
}

// sendmmsg runs when the socket may be writable; false waits for that.
func (v *volley) sendmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&v.headers[v.at])), uintptr(v.n-v.at), 0, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		v.sent, v.errno = int(n), errno
		return true
	}
}
