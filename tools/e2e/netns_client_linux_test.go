package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// tunnelName is the interface of a client, and the name of its file.
const tunnelName = "seal0"

// client is a machine of a world with wireguard-go as Debian has it, which is
// configured with wg and ip out of the file that an operator issued.
type client struct {
	*world
	machine *process
	file    string // for wg-quick
}

// newClient plugs the machine in. Its interface is there, and does nothing yet.
func (w *world) newClient(file string) *client {
	w.Helper()
	// Its socket is in a directory that all machines have in common.
	const sockets = "/var/run/wireguard"
	if err := os.MkdirAll(sockets, 0o700); err != nil {
		w.Fatal(err)
	}
	if err := unix.Mount("tmpfs", sockets, "tmpfs", 0, "mode=700"); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = unix.Unmount(sockets, unix.MNT_DETACH) })
	keeper := exec.Command("sleep", "1000000")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	c := &client{world: w, machine: start(w.T, w.dir, "client", keeper), file: file}
	w.lan.plug("client", keeper.Process.Pid)
	for _, command := range []string{"ip link set lo up", "ip link set eth0 up", fmt.Sprintf("ip addr add %s/16 dev eth0", w.ip(30, 1))} {
		c.run(strings.Fields(command)...)
	}
	start(w.T, w.dir, "wireguard-go", exec.Command("nsenter", "-t", c.pid(), "-n", "--", "wireguard-go", "-f", tunnelName))
	w.until("wireguard-go has its socket", func() bool { _, err := os.Stat(sockets + "/" + tunnelName + ".sock"); return err == nil })
	return c
}

func (c *client) pid() string { return strconv.Itoa(c.machine.cmd.Process.Pid) }

// run runs a command on the client's machine.
func (c *client) run(command ...string) string {
	c.Helper()
	words := slices.Concat([]string{"nsenter", "-t", c.pid(), "-n", "--"}, command)
	out, err := exec.CommandContext(c.soon(), words[0], words[1:]...).CombinedOutput()
	if err != nil {
		c.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// configure has the interface be what the file says, from the beginning: sessions
// that it had are forgotten.
func (c *client) configure() {
	c.Helper()
	stripped := c.file + ".stripped"
	c.write(stripped, c.run("wg-quick", "strip", c.file))
	c.run("wg", "set", tunnelName, "private-key", "/dev/null") // forgets all
	c.run("wg", "setconf", tunnelName, stripped)
	settings := settingsIn(c.T, c.file)
	c.run("ip", "link", "set", tunnelName, "mtu", settings["MTU"], "up")
	c.run("ip", "route", "replace", settings["AllowedIPs"], "dev", tunnelName)
}

// setting is a value in the file.
func (c *client) setting(name string) string {
	c.Helper()
	return settingsIn(c.T, c.file)[name]
}

// dial opens a connection from the client's machine.
func (c *client) dial(network string, to netip.AddrPort, patience time.Duration) (conn net.Conn, err error) {
	err = within("/proc/"+c.pid()+"/ns/net", func() error {
		d := net.Dialer{Timeout: patience, LocalAddr: nil}
		conn, err = d.Dial(network, to.String())
		return err
	})
	return conn, err
}

// prober asks the gateway inside the tunnel whether it is there.
type prober struct {
	*client
	conn  net.Conn
	nonce uint64
}

func (c *client) prober() *prober {
	c.Helper()
	conn, err := c.dial("udp", netip.AddrPortFrom(c.inner, wire.ProbePort), patience)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = conn.Close() })
	return &prober{client: c, conn: conn}
}

// ask sends one probe, and tells what the answer to it is, if it comes in time.
func (p *prober) ask(within time.Duration) (a wire.ProbeAnswer, ok bool) {
	p.Helper()
	p.nonce++
	_, _ = p.conn.Write(wire.MarshalProbe(p.nonce)) // no route for a while is no answer
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		p.Fatal(err)
	}
	for b := make([]byte, 1500); ; {
		n, err := p.conn.Read(b)
		if err != nil {
			return a, false
		}
		if a, err := wire.ParseProbeAnswer(b[:n]); err == nil && a.Nonce == p.nonce {
			return a, true
		}
	}
}

// answered waits until a probe is.
func (p *prober) answered(what string) (a wire.ProbeAnswer) {
	p.Helper()
	p.until(what, func() (ok bool) { a, ok = p.ask(time.Second); return ok })
	return a
}

// silent fails the test when one of some probes is answered.
func (p *prober) silent(what string) {
	p.Helper()
	for range 10 {
		if a, ok := p.ask(200 * time.Millisecond); ok {
			p.Fatalf("%s, and the gateway answers: %+v", what, a)
		}
	}
}

// shaken is when client and gateway shook hands last, in seconds; 0: they haven't.
func (c *client) shaken() (at int64) {
	c.Helper()
	for line := range strings.Lines(c.run("wg", "show", tunnelName, "latest-handshakes")) {
		if f := strings.Fields(line); len(f) == 2 {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				c.Fatal(err)
			}
			at = max(at, n)
		}
	}
	return at
}

// behind puts a phone behind the client: what it sends goes through the kernel of the
// client's machine into the tunnel. The address of the tunnel is the phone's then.
func (c *client) behind(p *phone.Phone, address netip.Addr) {
	c.Helper()
	tun, err := openDevice("/proc/"+c.pid()+"/ns/net", "phone0", unix.IFF_TUN|unix.IFF_NO_PI)
	if err != nil {
		c.Fatal(err)
	}
	// An interface without any address has no routes.
	c.run("ip", "addr", "add", "192.0.2.77/32", "dev", tunnelName)
	c.run("ip", "addr", "del", address.String()+"/32", "dev", tunnelName)
	c.run("ip", "route", "replace", c.setting("AllowedIPs"), "dev", tunnelName)
	c.run("ip", "link", "set", "phone0", "up")
	c.run("ip", "route", "add", address.String()+"/32", "dev", "phone0")
	c.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	deliver, err := p.Carried(address, func(packet []byte) { _, _ = tun.Write(packet) }) // a full queue is a loss
	if err != nil {
		c.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for b := make([]byte, 1<<16); ; {
			n, err := tun.Read(b)
			if err != nil {
				return
			}
			if n > 0 && b[0]>>4 == 4 {
				deliver(slices.Clone(b[:n]))
			}
		}
	})
	c.Cleanup(func() { tun.Close(); reading.Wait() })
}

// ahead takes the phone away: the address is the client's own again.
func (c *client) ahead(address netip.Addr) {
	c.Helper()
	c.run("ip", "route", "del", address.String()+"/32", "dev", "phone0")
	c.run("ip", "addr", "del", "192.0.2.77/32", "dev", tunnelName)
	c.own(address)
}

// own gives the interface the address of the tunnel.
func (c *client) own(address netip.Addr) {
	c.Helper()
	c.run("ip", "addr", "add", address.String()+"/32", "dev", tunnelName)
	c.run("ip", "route", "replace", c.setting("AllowedIPs"), "dev", tunnelName)
}
