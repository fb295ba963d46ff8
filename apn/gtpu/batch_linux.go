package gtpu

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const batches = true

// batch reads up to batchSize datagrams with one recvmmsg(2). The x/net way
// (ipv4.PacketConn.ReadBatch) does the same but allocates each sender's
// address; sending has no such cost and goes through x/net.
type batch struct {
	raw     syscall.RawConn
	step    func(fd uintptr) (done bool)
	headers [batchSize]mmsghdr
	parts   [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet4
	b       []byte
	n       int
	errno   syscall.Errno
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

func newReader(conn Conn) reader {
	u, ok := conn.(*net.UDPConn)
	if !ok {
		return newSingle(conn)
	}
	raw, err := u.SyscallConn()
	if a, v4 := u.LocalAddr().(*net.UDPAddr); err != nil || !v4 || a.IP.To4() == nil {
		return newSingle(conn)
	}
	r := &batch{raw: raw, b: make([]byte, batchSize*maxDatagram)}
	r.step = r.recvmmsg
	for i := range r.headers {
		r.parts[i].Base = &r.b[i*maxDatagram]
		r.parts[i].SetLen(maxDatagram)
		h := &r.headers[i].hdr
		h.Iov = &r.parts[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	return r
}

func (r *batch) read() (int, error) {
	for i := range r.headers {
		r.headers[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	if err := r.raw.Read(r.step); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	return r.n, nil
}

// recvmmsg runs when the socket may be readable; false waits for that.
func (r *batch) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&r.headers[0])), batchSize, 0, 0, 0)
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

func (r *batch) datagram(i int) ([]byte, netip.AddrPort, bool) {
	h := &r.headers[i]
	name := &r.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	from := netip.AddrPortFrom(netip.AddrFrom4(name.Addr), port)
	at := i * maxDatagram
	return r.b[at : at+int(h.n)], from, h.hdr.Flags&unix.MSG_TRUNC == 0
}
