package inner

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// kernelTUN is a TUN device. It goes when it is closed, or its process ends.
type kernelTUN struct {
	*os.File
	raw   syscall.RawConn
	rules []netip.Addr // addresses that a routing rule is for
	once  sync.Once
}

// openTUN makes the device name with the gateway's addresses and returns it with
// what binds sockets to it.
func openTUN(name string, mtu int, addresses []netip.Addr, log *slog.Logger) (device, func(string, string, syscall.RawConn) error, error) {
	if err := CheckInterface(name); err != nil {
		return nil, nil, err
	}
	if err := elsewhere(addresses); err != nil {
		return nil, nil, err
	}
	t, err := createTUN(name)
	if err != nil {
		return nil, nil, err
	}
	if err := t.configure(name, mtu, addresses, log); err != nil {
		return nil, nil, errors.Join(explained(err), t.Close())
	}
	return t, bindTo(name), nil
}

// createTUN makes a device that isn't there yet, with checksums and segments left
// to us.
func createTUN(name string) (*kernelTUN, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("%s: %w: load the module (modprobe tun), in a container give it the device; or take driver %s", tunPath, err, Netstack)
	}
	if err != nil {
		return nil, explained(fmt.Errorf("%s: %w", tunPath, err))
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		err = fmt.Errorf("interface %s is there already: choose another name, or end what has it (%w)", name, err)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	}
	if err != nil {
		return nil, errors.Join(explained(fmt.Errorf("make TUN device: %w", err)), unix.Close(fd))
	}
	t := &kernelTUN{File: os.NewFile(uintptr(fd), tunPath)}
	if t.raw, err = t.SyscallConn(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// explained says what to do about a lack of permission.
func explained(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: driver %s takes the capability CAP_NET_ADMIN (systemd: AmbientCapabilities=) and %s; %s takes neither", err, TUN, tunPath, Netstack)
	}
	return err
}

// bindTo binds sockets to a device: what comes by another interface doesn't
// reach them.
func bindTo(name string) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		control := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) })
		return errors.Join(control, os.NewSyscallError("bind to "+name, err))
	}
}

// vector is one write, which is used again.
type vector struct {
	parts [][]byte
	err   error
	do    func(fd uintptr) bool
}

var vectors = sync.Pool{New: func() any {
	v := new(vector)
	v.do = func(fd uintptr) bool {
		_, v.err = unix.Writev(int(fd), v.parts)
		return v.err != unix.EAGAIN
	}
	return v
}}

func (t *kernelTUN) write(parts [][]byte) error {
	v := vectors.Get().(*vector)
	defer vectors.Put(v)
	v.parts = parts
	err := t.raw.Write(v.do)
	v.parts = nil
	if err != nil {
		return err
	}
	return v.err
}

// Close ends the device, its addresses and routes.
func (t *kernelTUN) Close() (err error) {
	t.once.Do(func() {
		for _, a := range t.rules {
			err = errors.Join(err, changeRule(unix.RTM_DELRULE, 0, a))
		}
		err = errors.Join(err, t.File.Close())
	})
	return err
}

// sysctls are what the device differs in from others. What can't be set (where
// /proc/sys is read-only) costs tidiness: nothing but what was admitted reaches
// the device, and nothing but answers leaves it.
func sysctls(with6 bool) map[string]string {
	m := map[string]string{
		"ipv4/forwarding": "0", "ipv4/rp_filter": "1", "ipv4/accept_redirects": "0", "ipv4/send_redirects": "0",
		"ipv4/accept_source_route": "0", "ipv4/route_localnet": "0",
	}
	if !with6 {
		m["ipv6/disable_ipv6"] = "1"
		return m
	}
	for name, v := range map[string]string{
		"disable_ipv6": "0", "forwarding": "0", "accept_ra": "0", "autoconf": "0", "addr_gen_mode": "1", "accept_redirects": "0",
		"dad_transmits": "0", "router_solicitations": "0", "accept_source_route": "-1",
	} {
		m["ipv6/"+name] = v
	}
	return m
}

// configure gives the device its addresses, and the kernel the way back: packets
// from the gateway's inner addresses, and no others, leave by it.
func (t *kernelTUN) configure(name string, mtu int, addresses []netip.Addr, log *slog.Logger) error {
	with6 := false
	for _, a := range addresses {
		with6 = with6 || a.Is6()
	}
	for key, value := range sysctls(with6) {
		family, leaf := filepath.Split(key)
		file := filepath.Join("/proc/sys/net", family, "conf", name, leaf)
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil && !(errors.Is(err, os.ErrNotExist) && family == "ipv6/") {
			log.Warn("inner network: a setting of the TUN device stays as it is", "file", file, "want", value, "error", err)
		}
	}
	if err := raise(name, mtu); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	index, err := indexOf(name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		err := addAddress(index, a)
		if err == nil && a.Is6() {
			err = await(name, a)
		}
		if err != nil {
			return fmt.Errorf("put %s on interface %s: %w", a, name, err)
		}
	}
	for _, six := range []bool{false, true} {
		if six && !with6 {
			continue
		}
		if err := addRoute(index, six); err != nil {
			return fmt.Errorf("routing table %d: %w: is another gateway's TUN device on this machine?", routeTable, err)
		}
	}
	for _, a := range addresses {
		// A process that was killed has left its rule.
		for changeRule(unix.RTM_DELRULE, 0, a) == nil {
			continue
		}
		if err := changeRule(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, a); err != nil {
			return fmt.Errorf("routing rule for %s: %w", a, err)
		}
		t.rules = append(t.rules, a)
	}
	return nil
}
