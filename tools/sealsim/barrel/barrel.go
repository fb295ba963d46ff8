package barrel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

// Errors of a barrel that doesn't work.
var (
	ErrOff    = errors.New("the barrel has no power")
	ErrMemory = errors.New("the barrel's memory failed")
)

// Credentials are the barrel's DTLS identity: a pre-shared key or a
// certificate.
type Credentials struct {
	PSKIdentity string
	PSK         []byte
	Certificate *tls.Certificate
	RootCAs     *x509.CertPool // that vouch for the gateway, with a certificate
	ServerName  string         // in the gateway's certificate
}

// Network is a Wi-Fi network; *wifi.AccessPoint is one.
type Network interface {
	Join(ctx context.Context, s wifi.Station) (*wifi.Link, error)
}

// Config makes a barrel.
type Config struct {
	Identity    Identity
	MAC         ident.MAC
	Credentials Credentials
	// StateFile is the durable memory. Without one the barrel forgets all when the
	// power goes: it must never stamp.
	StateFile string
	// Gateway is where the CoAPs server is inside the tunnel. Where that is
	// IPv6, the barrel needs a hotspot whose tunnel has it.
	Gateway netip.AddrPort
	// Heartbeat is the time between heartbeats; 0 means 1 s.
	Heartbeat time.Duration
	// Rejoin is the time between tries to find a lost Wi-Fi network again;
	// 0 means 2 s.
	Rejoin time.Duration
	// Speak hears what the barrel says; nil is nobody. It must be quick.
	Speak func(text string)
	// Clock is the barrel's own, time.Now if nil.
	Clock  func() time.Time
	Logger *slog.Logger
}

// Barrel is the device. It has no power before PowerOn.
type Barrel struct {
	cfg         Config
	log         *slog.Logger
	store       store
	impressions atomic.Uint64 // on paper: what the seal really did
	switching   sync.Mutex    // one change of power at a time

	mu      sync.Mutex
	life    *life   // nil: no power
	network Network // to be on; nil: none
	said    []string
	status  wire.BarrelStatus // as last known
	changed chan struct{}     // closed when status changes, then replaced
}

// New makes a barrel without power.
func New(cfg Config) *Barrel {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = time.Second
	}
	if cfg.Rejoin <= 0 {
		cfg.Rejoin = 2 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Barrel{
		cfg: cfg, store: store{cfg.StateFile}, changed: make(chan struct{}),
		log: cfg.Logger.With("barrel", cfg.Identity.ID),
	}
	b.status = wire.BarrelStatus{Barrel: cfg.Identity.ID.String(), Locked: true}
	return b
}

// PowerOn boots the barrel from its durable memory. It looks for the Wi-Fi
// network that it was on. With power already, it does nothing.
func (b *Barrel) PowerOn() error {
	b.switching.Lock()
	defer b.switching.Unlock()
	b.mu.Lock()
	on, network := b.life != nil, b.network
	b.mu.Unlock()
	if on {
		return nil
	}
	st, err := b.store.load()
	if err != nil {
		return errors.Join(ErrMemory, err)
	}
	l := newLife(b, NewMachine(b.cfg.Identity, st))
	b.mu.Lock()
	b.life = l
	b.mu.Unlock()
	if err := l.start(); err != nil {
		return err
	}
	if network != nil {
		l.tasks.Go(func() { l.rejoin(network) })
	}
	return nil
}

// PowerLoss takes the power away, at once: what isn't in the durable memory is
// forgotten, the seal's spring locks it, the radio falls silent.
func (b *Barrel) PowerLoss() {
	b.switching.Lock()
	defer b.switching.Unlock()
	b.mu.Lock()
	l := b.life
	b.mu.Unlock()
	if l != nil {
		l.stop()
	}
}

// Reboot is PowerLoss and PowerOn.
func (b *Barrel) Reboot() error {
	b.PowerLoss()
	return b.PowerOn()
}

// Join connects the barrel to a Wi-Fi network, and to the gateway through it.
// It stays with that network, and looks for it again when the link is lost,
// until Leave.
func (b *Barrel) Join(ctx context.Context, n Network) error {
	l := b.alive()
	if l == nil {
		return ErrOff
	}
	b.mu.Lock()
	b.network = n
	b.mu.Unlock()
	return l.join(ctx, n)
}

// Leave leaves the Wi-Fi network.
func (b *Barrel) Leave() {
	b.mu.Lock()
	b.network = nil
	l := b.life
	b.mu.Unlock()
	if l != nil {
		l.leave()
	}
}

func (b *Barrel) alive() *life {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.life
}

// Status is how the barrel is, and a channel that is closed when that changes.
// Without power it is locked and has no state.
func (b *Barrel) Status() (now wire.BarrelStatus, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status, b.changed
}

// Await waits until the barrel's status is as wanted.
func (b *Barrel) Await(ctx context.Context, wanted func(wire.BarrelStatus) bool) (wire.BarrelStatus, error) {
	for {
		now, changed := b.Status()
		if wanted(now) {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, context.Cause(ctx)
		}
	}
}

// Impressions is how often the seal came down on paper, ever: the truth that
// receipts are compared with.
func (b *Barrel) Impressions() uint64 { return b.impressions.Load() }

// Said lists the last prompts that were spoken, newest last.
func (b *Barrel) Said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.said)
}

// maxSaid bounds the log of prompts.
const maxSaid = 256

func (b *Barrel) speak(text string) {
	b.mu.Lock()
	b.said = append(b.said, text)
	if len(b.said) > maxSaid {
		b.said = b.said[1:]
	}
	b.mu.Unlock()
	b.log.Debug("says", "text", text)
	if b.cfg.Speak != nil {
		b.cfg.Speak(text)
	}
}

// publish makes a status known. The lease's remainder alone is no change.
func (b *Barrel) publish(s wire.BarrelStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.status
	b.status = s
	leased := before.LeaseMs > 0 != (s.LeaseMs > 0)
	before.LeaseMs = s.LeaseMs
	if !leased && equal(before, s) {
		return
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

func equal(a, b wire.BarrelStatus) bool {
	return a.Barrel == b.Barrel && a.State == b.State && a.Locked == b.Locked && a.Battery == b.Battery &&
		a.Counter == b.Counter && a.Use == b.Use && a.Count == b.Count && a.Stamped == b.Stamped &&
		a.Lifetime == b.Lifetime && a.Prompt == b.Prompt && slices.Equal(a.Awaiting, b.Awaiting)
}
