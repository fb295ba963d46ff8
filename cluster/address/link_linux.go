package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelLink is an interface of this machine, by rtnetlink(7) and packet(7). The
// interface is looked up by its name each time: it may go and come back.
type kernelLink struct{ name string }

// openLink makes sure that frames may be sent.
func openLink(name string) (link, error) {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", meaning(err))
	}
	return kernelLink{name}, unix.Close(s)
}

// meaning gives what callers tell apart a name.
func meaning(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", errForbidden, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: %w", errAbsent, err)
	}
	return err
}

func (k kernelLink) add(a netip.Addr, valid time.Duration) error {
	info := unix.IfaCacheinfo{Valid: uint32(valid / time.Second)}
	if a.Is4() {
		// An IPv6 address with no preferred lifetime is never chosen as the source of
		// this machine's own connections. IPv4 knows no such thing.
		info.Prefered = info.Valid
	}
	// The address is this one's by decision of the cluster: to probe first whether it
	// is used elsewhere would take a second.
	flags := uint32(unix.IFA_F_NODAD)
	return k.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a,
		attribute(unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, flags)),
		attribute(unix.IFA_CACHEINFO, bytesOf(&info)))
}

func (k kernelLink) remove(a netip.Addr) error { return k.change(unix.RTM_DELADDR, 0, a) }

// change adds or removes the address, as a network of itself alone.
func (k kernelLink) change(kind, flags uint16, a netip.Addr, attributes ...[]byte) error {
	i, err := net.InterfaceByName(k.name)
	if err != nil {
		return err
	}
	head := unix.IfAddrmsg{Family: unix.AF_INET, Prefixlen: uint8(a.BitLen()), Index: uint32(i.Index)}
	if a.Is6() {
		head.Family = unix.AF_INET6
	}
	body := bytesOf(&head)
	for _, attr := range append([][]byte{attribute(unix.IFA_LOCAL, a.AsSlice()), attribute(unix.IFA_ADDRESS, a.AsSlice())}, attributes...) {
		body = append(body, attr...)
	}
	return meaning(request(kind, flags, body))
}

// attribute is one, padded (netlink(3)).
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func bytesOf[T unix.IfAddrmsg | unix.IfaCacheinfo](v *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}

// request has the kernel carry out one change and returns what it says of it.
func request(kind, flags uint16, body []byte) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	// The kernel answers before the send returns; this only bounds a mistake.
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	order := binary.NativeEndian
	m := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = order.AppendUint16(m, kind)
	m = order.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	m = append(append(m, make([]byte, 8)...), body...) // sequence number and port: one request a socket
	if err := unix.Sendto(s, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.SizeofNlMsghdr+4 || order.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: the kernel's answer is none")
	}
	if code := int32(order.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

func (k kernelLink) announce(a netip.Addr) error {
	i, err := net.InterfaceByName(k.name)
	if err != nil {
		return err
	}
	if len(i.HardwareAddr) != 6 {
		return nil // no Ethernet: nobody keeps what we could tell
	}
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return meaning(os.NewSyscallError("socket", err))
	}
	defer unix.Close(s)
	for _, frame := range announcement(a, i.HardwareAddr) {
		if err := unix.Sendto(s, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
			return meaning(os.NewSyscallError("sendto", err))
		}
	}
	return nil
}

func (k kernelLink) where(a netip.Addr) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return "", err
		}
		for _, at := range addrs {
			if n, ok := at.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
				return i.Name, nil
			}
		}
	}
	return "", nil
}

// freeBind lets a socket be bound to an address that the machine hasn't yet.
func freeBind(network, _ string, c syscall.RawConn) error {
	var err error
	control := c.Control(func(fd uintptr) {
		if network == "udp6" {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
			return
		}
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(control, os.NewSyscallError("setsockopt", err))
}
