package inner

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The table that has the way back to terminals, and where its rules stand among
// others: behind the kernel's own addresses and before the main table.
const (
	routeTable   = 24225
	rulePriority = 24225
)

// raise sets the MTU of an interface and brings it up.
func raise(name string, mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr); err != nil {
		return os.NewSyscallError("set MTU", err)
	}
	if ifr, err = unix.NewIfreq(name); err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return os.NewSyscallError("bring up", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}

func indexOf(name string) (uint32, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return uint32(i.Index), nil
}

func familyNumber(six bool) uint8 {
	if six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// addAddress puts an address on an interface as a network of itself alone.
func addAddress(index uint32, a netip.Addr) error {
	body := []byte{familyNumber(a.Is6()), uint8(a.BitLen()), 0, unix.RT_SCOPE_UNIVERSE}
	body = binary.NativeEndian.AppendUint32(body, index)
	body = append(body, attribute(unix.IFA_LOCAL, a.AsSlice())...)
	body = append(body, attribute(unix.IFA_ADDRESS, a.AsSlice())...)
	body = append(body, attribute(unix.IFA_FLAGS, number(unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE))...)
	return request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// await waits until the kernel takes packets for an IPv6 address of an interface:
// it does that some time after it has taken the address.
func await(name string, a netip.Addr) error {
	for range 2000 {
		routes, err := os.ReadFile("/proc/net/ipv6_route")
		if err != nil {
			return err
		}
		if isLocal(string(routes), name, a) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the kernel doesn't take packets for it within 2 s")
}

// isLocal looks for an address of an interface in the kernel's table of IPv6
// routes: destination, its length, source, its length, next hop, metric, counters,
// flags and name, mostly in hexadecimal digits.
func isLocal(routes, name string, a netip.Addr) bool {
	const rtfLocal = 0x80000000 // linux/ipv6_route.h
	want := hex.EncodeToString(a.AsSlice())
	for line := range strings.Lines(routes) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != want || f[1] != "80" || f[9] != name {
			continue
		}
		if flags, err := strconv.ParseUint(f[8], 16, 64); err == nil && flags&rtfLocal != 0 {
			return true
		}
	}
	return false
}

// addRoute has everything in the table of our own leave by an interface.
func addRoute(index uint32, six bool) error {
	body := routeHead(six, 0, unix.RT_TABLE_UNSPEC, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST)
	body = append(body, attribute(unix.RTA_TABLE, number(routeTable))...)
	body = append(body, attribute(unix.RTA_OIF, number(index))...)
	return request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// changeRule adds or removes the rule that what this machine itself sends from an
// address is routed by the table. What other machines send isn't, whatever source
// they claim; and the rule is what strict reverse path filtering looks at.
func changeRule(kind, flags uint16, a netip.Addr) error {
	body := routeHead(a.Is6(), uint8(a.BitLen()), unix.RT_TABLE_UNSPEC, 0, 0, unix.FR_ACT_TO_TBL)
	body = append(body, attribute(unix.FRA_SRC, a.AsSlice())...)
	body = append(body, attribute(unix.FRA_IIFNAME, append([]byte("lo"), 0))...)
	body = append(body, attribute(unix.FRA_TABLE, number(routeTable))...)
	body = append(body, attribute(unix.FRA_PRIORITY, number(rulePriority))...)
	return request(kind, flags, body)
}

// routeHead is an rtmsg, or a fib_rule_hdr, which is laid out alike.
func routeHead(six bool, source, table, protocol, scope, kind uint8) []byte {
	return []byte{familyNumber(six), 0, source, 0, table, protocol, scope, kind, 0, 0, 0, 0}
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// attribute is one, padded (netlink(3)).
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
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
