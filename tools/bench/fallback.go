package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sealedge/sealedge/edge/inner"
)

// plainWireGuard is the yardstick, wireguard-go as Debian has it.
const plainWireGuard = "wireguard-go"

// wireguardModule is the same program as of the version that the gateway's endpoint is
// made with: a yardstick that doesn't wait for Debian.
const wireguardModule = "golang.zx2c4.com/wireguard"

// runFallbackEnd is the end that a command names.
func runFallbackEnd(command string, args []string) error {
	switch {
	case command == fallbackGatewayCommand && len(args) == 1:
		return runFallbackGateway(args[0])
	case command == fallbackSinkCommand && len(args) == 1:
		return runFallbackSink(args[0])
	case command == fallbackHandshakesCommand && len(args) == 2:
		return runHandshakes(args[0], args[1])
	case command == fallbackLoadCommand && len(args) == 3:
		return runFallbackLoad(args[0], args[1], args[2])
	}
	return fmt.Errorf("%s: wrong arguments", command)
}

// lane is one way through the fallback path, with a tunnel of its own.
type lane struct {
	name   string
	driver inner.Driver // empty: wireguard-go at the gateway's end, too
	number int
	ends   []*process // at the gateway's end
	key    *ecdh.PrivateKey
	client *ecdh.PrivateKey
	crowd  []*ecdh.PrivateKey // terminals that only shake hands
}

func (l *lane) own() netip.Addr { return netip.AddrFrom4([4]byte{10, byte(90 + l.number), 0, 1}) }

func (l *lane) terminal() netip.Addr { return netip.AddrFrom4([4]byte{10, byte(90 + l.number), 0, 2}) }

// Where the two ends are on the wire between them.
var (
	fallbackClient  = netip.MustParseAddr("192.0.2.2")
	fallbackGateway = netip.MustParseAddr("192.0.2.1")
)

func (l *lane) listen() netip.AddrPort {
	return netip.AddrPortFrom(fallbackGateway, uint16(51820+l.number))
}

// device is the name of the lane's interface at an end: names of wireguard-go are
// of the whole machine.
func (l *lane) device(end string) string {
	return fmt.Sprintf("sb%s%d-%d", end, l.number, os.Getpid()%10000)
}

func (l *lane) cpu() (total time.Duration, err error) {
	for _, p := range l.ends {
		t, err := p.cpu()
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}

// fallbackPath is two namespaces with a wire between them and lanes through it.
type fallbackPath struct {
	client, gateway *namespace
	program         string // wireguard-go
	dir, self       string
	lanes           []*lane
	processes       []*process
}

func (f *fallbackPath) close() {
	for _, p := range f.processes {
		p.stop()
	}
	for _, n := range []*namespace{f.client, f.gateway} {
		if n != nil {
			n.close()
		}
	}
}

// openFallback makes the path with all its lanes.
func (b *bench) openFallback(ctx context.Context, program string) (f *fallbackPath, err error) {
	for _, need := range []string{program, "wg"} {
		if _, err := exec.LookPath(need); err != nil {
			return nil, fmt.Errorf("%w: %w (Debian's packages wireguard-go and wireguard-tools have them)", errNoNamespaces, err)
		}
	}
	f = &fallbackPath{program: program}
	if f.dir, err = os.MkdirTemp(b.dir, "fallback-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.self, err = os.Executable(); err != nil {
		return nil, err
	}
	for _, n := range []**namespace{&f.client, &f.gateway} {
		if *n, err = newNamespace(); err != nil {
			return nil, err
		}
	}
	if err := f.wire(ctx); err != nil {
		return nil, err
	}
	for i, l := range []*lane{{name: plainWireGuard}, {name: "netstack", driver: inner.Netstack}, {name: "tun", driver: inner.TUN}} {
		l.number = i
		if err := f.open(ctx, l); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		f.lanes = append(f.lanes, l)
	}
	return f, nil
}

// wire connects the namespaces.
func (f *fallbackPath) wire(ctx context.Context) error {
	if err := f.gateway.do(ctx, "ip link set lo up\nip link add wire type veth peer name wire netns "+f.client.pid()); err != nil {
		return fmt.Errorf("%w: %w", errNoNamespaces, err)
	}
	for n, a := range map[*namespace]netip.Addr{f.gateway: fallbackGateway, f.client: fallbackClient} {
		if err := n.do(ctx, fmt.Sprintf("ip link set lo up\nip address add %s/24 dev wire\nip link set wire up", a)); err != nil {
			return err
		}
	}
	return nil
}

// start runs a program in a namespace until the path is closed.
func (f *fallbackPath) start(n *namespace, name string, argv ...string) (*process, error) {
	p, err := start(f.dir, name, n.inside(argv...)...)
	if err == nil {
		f.processes = append(f.processes, p)
	}
	return p, err
}

// open starts both ends of a lane.
func (f *fallbackPath) open(ctx context.Context, l *lane) (err error) {
	for _, k := range []**ecdh.PrivateKey{&l.key, &l.client} {
		if *k, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return err
		}
	}
	if l.crowd, err = newHandshakers(handshakePeers); err != nil {
		return err
	}
	if l.driver == "" {
		if err = f.plain(ctx, l); err != nil {
			return err
		}
	} else if err = f.ours(l); err != nil {
		return err
	}
	return f.tunnel(ctx, l, "c", f.client, l.client, l.terminal(),
		"peer", base64.StdEncoding.EncodeToString(l.key.PublicKey().Bytes()), "endpoint", l.listen().String(), "allowed-ips", l.own().String()+"/32")
}

// ours is the gateway's endpoint and inner network, in a process of their own.
func (f *fallbackPath) ours(l *lane) error {
	end := fallbackEnd{Driver: l.driver, Key: hex.EncodeToString(l.key.Bytes()), Listen: l.listen(), Own: l.own(), Peers: []fallbackPeer{
		{hex.EncodeToString(l.client.PublicKey().Bytes()), l.terminal()},
	}}
	for i, k := range l.crowd {
		end.Peers = append(end.Peers, fallbackPeer{hex.EncodeToString(k.PublicKey().Bytes()), l.handshaker(i)})
	}
	raw, err := json.Marshal(end)
	if err != nil {
		return err
	}
	file := filepath.Join(f.dir, l.name+".json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return err
	}
	p, err := f.start(f.gateway, "gateway-"+l.name, f.self, fallbackGatewayCommand, file)
	l.ends = append(l.ends, p)
	return err
}

// plain is wireguard-go with the services behind it.
func (f *fallbackPath) plain(ctx context.Context, l *lane) error {
	if err := f.tunnel(ctx, l, "g", f.gateway, l.key, l.own(), "listen-port", fmt.Sprint(l.listen().Port()),
		"peer", base64.StdEncoding.EncodeToString(l.client.PublicKey().Bytes()), "allowed-ips", l.terminal().String()+"/32"); err != nil {
		return err
	}
	l.ends = append(l.ends, f.processes[len(f.processes)-1])
	if err := f.admit(ctx, l); err != nil {
		return err
	}
	p, err := f.start(f.gateway, "sink", f.self, fallbackSinkCommand, l.own().String())
	l.ends = append(l.ends, p)
	return err
}

// tunnel starts wireguard-go in a namespace and configures it as wg does.
func (f *fallbackPath) tunnel(ctx context.Context, l *lane, end string, n *namespace, key *ecdh.PrivateKey, own netip.Addr, settings ...string) error {
	name := l.device(end)
	p, err := f.start(n, name, f.program, "-f", name)
	if err != nil {
		return err
	}
	for range 100 {
		if err = p.ended(); err != nil {
			return err
		}
		if _, err = n.output(ctx, "wg", "show", name); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	file := filepath.Join(f.dir, name+".key")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key.Bytes())), 0o600); err != nil {
		return err
	}
	if _, err := n.output(ctx, append([]string{"wg", "set", name, "private-key", file}, settings...)...); err != nil {
		return err
	}
	return n.do(ctx, fmt.Sprintf("ip link set %[1]s mtu 1400\nip address add %[2]s/16 dev %[1]s\nip link set %[1]s up", name, own))
}

// load runs one load from the client's end.
func (f *fallbackPath) load(ctx context.Context, l *lane, kind string, long time.Duration) (r carried, err error) {
	out, err := f.client.output(ctx, f.self, fallbackLoadCommand, kind, l.own().String(), long.String())
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		return r, fmt.Errorf("%s, %s: %w", l.name, kind, err)
	}
	return r, nil
}

// fallbacks measures the fallback path beside plain wireguard-go: that of Debian, and
// then the current one.
func (b *bench) fallbacks(ctx context.Context) error {
	if err := b.allKinds(ctx, plainWireGuard, ""); err != nil {
		return err
	}
	current := filepath.Join(b.dir, "wireguard-go")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", current, wireguardModule).CombinedOutput(); err != nil {
		b.note(fmt.Sprintf("Without the current wireguard-go: %v: %s", err, out))
		return nil
	}
	return b.allKinds(ctx, current, " (current)")
}

// allKinds measures all kinds on all lanes, with one wireguard-go.
func (b *bench) allKinds(ctx context.Context, program, remark string) error {
	f, err := b.openFallback(ctx, program)
	if err != nil {
		return err
	}
	defer f.close()
	for _, kind := range fallbackKinds {
		if err := b.lanes(ctx, f, kind, remark); err != nil {
			return err
		}
	}
	return nil
}

// fallbackKind is something that is measured on all lanes in turn.
type fallbackKind struct {
	name    string
	run     func(ctx context.Context, f *fallbackPath, l *lane, long time.Duration) (carried, error)
	samples func(r carried, cpu time.Duration) []sample
}

var fallbackKinds = []fallbackKind{
	{"TCP up", loading("up"), streamSamples},
	{"TCP down", loading("down"), streamSamples},
	{"packets up", loading("packets"), countSamples("packets", "packet")},
	{"handshakes", func(ctx context.Context, f *fallbackPath, l *lane, long time.Duration) (carried, error) {
		return f.handshakes(ctx, l, long)
	}, countSamples("handshakes", "handshake")},
}

func loading(kind string) func(context.Context, *fallbackPath, *lane, time.Duration) (carried, error) {
	return func(ctx context.Context, f *fallbackPath, l *lane, long time.Duration) (carried, error) {
		return f.load(ctx, l, kind, long)
	}
}

// lanes measures one kind.
func (b *bench) lanes(ctx context.Context, f *fallbackPath, kind fallbackKind, remark string) error {
	runs := make(map[*lane][][]sample)
	for run := -1; run < b.runs; run++ { // one before, that nobody counts
		for _, l := range f.lanes {
			before, err := l.cpu()
			if err != nil {
				return err
			}
			r, err := kind.run(ctx, f, l, b.time)
			if err != nil {
				return fmt.Errorf("%s: %w", kind.name, err)
			}
			after, err := l.cpu()
			if err != nil {
				return err
			}
			if run >= 0 {
				runs[l] = append(runs[l], kind.samples(r, after-before))
			}
		}
	}
	for _, l := range f.lanes {
		fig := figure("fallback", 0, kind.name+", "+l.name+remark, runs[l])
		if plain := f.lanes[0]; l != plain {
			fig.Values = append(fig.Values, beside(runs[l], runs[plain]))
		}
		b.report(fig)
	}
	return nil
}

// beside compares rates round by round: what else the machine does changes from one
// to the next.
func beside(ours, yardstick [][]sample) Value {
	var ratios [][]sample
	for i := range ours {
		ratios = append(ratios, []sample{{"beside", "", per(ours[i][0].value, yardstick[i][0].value)}})
	}
	return figure("", 0, "", ratios).Values[0]
}

func streamSamples(r carried, cpu time.Duration) []sample {
	return []sample{
		{"", "Mbit/s", per(float64(r.Amount)*8/1e6, r.Elapsed.Seconds())},
		{"CPU", "s/GB", per(cpu.Seconds(), float64(r.Amount)/1e9)},
	}
}

func countSamples(many, one string) func(carried, time.Duration) []sample {
	return func(r carried, cpu time.Duration) []sample {
		return []sample{
			{many, "/s", per(float64(r.Amount), r.Elapsed.Seconds())},
			{"CPU", "µs/" + one, per(microseconds(cpu), float64(r.Amount))},
			{"lost", "%", 100 * per(float64(r.Lost), float64(r.Amount+r.Lost))},
		}
	}
}
