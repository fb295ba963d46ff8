package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

// notebook keeps a log.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notebook) has(text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Contains(n.text.String(), text)
}

func (n *notebook) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text.Reset()
}

// followed is a file that a reloader follows until the test ends.
type followed struct {
	t       *testing.T
	r       *reloader
	log     notebook
	text    string // as it was at first
	applied chan *config.Config
	changed chan []config.Change
}

// follow makes a configuration, has place put it somewhere, and follows that.
func follow(t *testing.T, place func(text string) (file string)) *followed {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	l, err := setup.Init(dir, setup.Options{Nodes: 1, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(l.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	f := &followed{t: t, text: string(raw), applied: make(chan *config.Config, 16), changed: make(chan []config.Change, 16)}
	file := place(f.text)
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	running := *cfg
	running.Log.Level = slog.LevelError
	f.r = &reloader{
		file: file, running: &running, log: slog.New(slog.NewTextHandler(&f.log, nil)),
		apply: func(c *config.Config) { f.applied <- c }, record: func(c []config.Change) { f.changed <- c },
	}
	ended := make(chan error, 1)
	ctx := t.Context() // ends before what Cleanup registers is called
	go func() { ended <- f.r.run(ctx) }()
	t.Cleanup(func() { <-ended })
	f.takes(cfg.Log.Level) // so that its first look is over
	return f
}

// with is the text at first, with more of it at the end.
func (f *followed) with(more string) string { return f.text + more }

func (f *followed) until(text string) {
	f.t.Helper()
	until(f.t, "the log says "+text, func() bool { return f.log.has(text) })
}

func (f *followed) takes(level slog.Level) {
	f.t.Helper()
	select {
	case c := <-f.applied:
		if c.Log.Level != level {
			f.t.Fatalf("it took up level %v, not %v", c.Log.Level, level)
		}
	case <-time.After(time.Minute):
		f.t.Fatalf("nothing was taken up: %+v", f.r.state())
	}
	if changes := <-f.changed; !slices.Equal(config.Keys(changes), []string{"log.level"}) {
		f.t.Errorf("recorded were %v", changes)
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A file that is written in place, in pieces, with mistakes, and asked for.
func TestReloadFile(t *testing.T) {
	f := follow(t, func(text string) string {
		file := filepath.Join(t.TempDir(), "node.yaml")
		put(t, file, text)
		return file
	})
	put(t, f.r.file, f.with("log: {level: debug}\n"))
	f.takes(slog.LevelDebug)

	// Half of it is no configuration; the whole is. (Before, it may have been looked at
	// while it was being written.)
	f.log.forget()
	put(t, f.r.file, f.text[:len(f.text)/2])
	f.until("has mistakes; the node goes on as it is")
	if s := f.r.state(); !s.Refused || s.RestartNeeded {
		t.Errorf("%+v", s)
	}
	put(t, f.r.file, f.with("log: {level: error}\n"))
	f.takes(slog.LevelError)

	// A mistake in one key keeps the others from being taken up, too.
	put(t, f.r.file, f.with("log: {level: info, format: prose}\n"))
	f.until("prose")
	put(t, f.r.file, f.with("log: {level: warn}\n"))
	f.takes(slog.LevelWarn)
	if len(f.applied) > 0 {
		t.Error("something of a file with a mistake was taken up")
	}

	// What takes a restart is told, and what doesn't is taken up beside it.
	put(t, f.r.file, f.with("log: {level: debug, format: json}\n"))
	f.takes(slog.LevelDebug)
	f.until("keys=[log.format]")
	if s, n := f.r.state(), f.r.notes(); !s.RestartNeeded || s.Refused || len(n) != 1 || !strings.HasSuffix(n[0], "log.format") {
		t.Errorf("%+v, %q", s, n)
	}
	put(t, f.r.file, f.with("log: {level: debug}\n"))
	f.until("the configuration file is as the node runs")
	if s, n := f.r.state(), f.r.notes(); s.RestartNeeded || len(n) > 0 {
		t.Errorf("%+v, %q", s, n)
	}

	// It goes, and comes back.
	if err := os.Remove(f.r.file); err != nil {
		t.Fatal(err)
	}
	f.until("the configuration file can't be read")
	put(t, f.r.file, f.with("log: {level: info}\n"))
	f.takes(slog.LevelInfo)

	// At SIGHUP it says how things stand.
	put(t, f.r.file, f.with("log: {level: info}\nradius: {port: 1812}\n"))
	f.until("keys=[radius.port]")
	f.log.forget()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	f.until("keys=[radius.port]")
}

// Kubernetes writes a ConfigMap anew into a directory of its own, and switches a
// symlink to it.
func TestReloadConfigMap(t *testing.T) {
	dir := t.TempDir()
	version := 0
	place := func(text string) string {
		version++
		name := filepath.Join(dir, "..2026_11_23_0"+string(rune('0'+version)))
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(name, "node.yaml"), text)
		if err := os.Symlink(filepath.Base(name), filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "node.yaml")
	}
	f := follow(t, func(text string) string {
		file := place(text)
		if err := os.Symlink("..data/node.yaml", file); err != nil {
			t.Fatal(err)
		}
		return file
	})
	place(f.with("log: {level: debug}\n"))
	f.takes(slog.LevelDebug)
	place(f.with("log: {level: loud}\n"))
	f.until("loud")
	place(f.with("log: {level: warn}\n"))
	f.takes(slog.LevelWarn)
}

// A file system that hangs, here a pipe that nobody writes to, keeps nobody waiting:
// neither who asks how the configuration stands, nor the node's end. What is heard
// meanwhile is looked at afterwards.
func TestReloadOfAFileThatHangs(t *testing.T) {
	dir := t.TempDir()
	var pipes []*os.File
	t.Cleanup(func() { // after the node's end
		for _, w := range pipes {
			_ = w.Close()
		}
	})
	f := follow(t, func(text string) string {
		file := filepath.Join(dir, "node.yaml")
		put(t, file, text)
		return file
	})
	instead := func(name string) {
		if err := os.Rename(filepath.Join(dir, name), f.r.file); err != nil {
			t.Fatal(err)
		}
	}
	hang := func() *os.File {
		if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		instead("pipe")
		w, err := os.OpenFile(f.r.file, os.O_WRONLY, 0) // waits until it is being read
		if err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, w)
		return w
	}
	w := hang()
	if s, n := f.r.state(), f.r.notes(); s.Refused || s.RestartNeeded || len(n) > 0 {
		t.Errorf("%+v, %q", s, n)
	}
	put(t, filepath.Join(dir, "new"), f.with("log: {level: warn}\n"))
	instead("new")
	_, _ = w.WriteString(f.with("log: {level: error}\n"))
	_ = w.Close()
	f.takes(slog.LevelError) // what was read late
	f.takes(slog.LevelWarn)
	hang() // and the test ends
}

// That it hangs is said, and that it doesn't any more.
func TestReloadSaysThatAFileHangs(t *testing.T) {
	var log notebook
	r := &reloader{log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 3 {
		r.take(look{err: errHangs})
	}
	if n := strings.Count(log.text.String(), "its file system doesn't answer"); n != 1 || !r.state().Refused {
		t.Errorf("it is said %d times, %+v", n, r.state())
	}
}

// A peer that is taken off the list isn't heard any more, from its next message on; the
// log's level and the metrics follow; and the audit chain says what changed.
func TestReloadOfARunningNode(t *testing.T) {
	level := new(slog.LevelVar)
	file := ""
	g, _ := startNode(t, func(g *gateway, f string, flags map[string]string) {
		file = f
		g.reloading(f, flags, level)
	})
	until(t, "it serves", g.holdsAny)
	carrier, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.248.20.1:2123")), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.248.10.1:2123")))
	if err != nil {
		t.Fatal(err)
	}
	defer carrier.Close()
	answers := make(chan struct{}, 1000)
	go func() {
		for b := make([]byte, 1500); ; {
			switch _, err := carrier.Read(b); {
			case err == nil:
				answers <- struct{}{}
			case errors.Is(err, net.ErrClosed):
				return
			} // or the port isn't open yet
		}
	}()
	echo := func() {
		_, _ = carrier.Write(gtptest.New().Echo()) // which tells of what became of the one before, too
	}
	until(t, "an echo is answered", func() bool { echo(); return len(answers) > 0 })
	until(t, "all are", func() bool { c := g.counters(); return c["gtpc.received"] == c["gtpc.sent"] })

	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "127.248.20.0/24", "127.248.21.0/24", 1)
	put(t, file, text+"log: {level: debug, format: json}\n")
	becomes(t, "http://"+monitored+"/readyz?verbose", "[i]configuration: a restart is needed for log.format")
	if level.Level() != slog.LevelDebug {
		t.Errorf("the log's level is %v", level.Level())
	}
	dropped := func() uint64 { return g.counters()["gtpc.peer-not-allowed"] }
	was, sent := dropped(), g.counters()["gtpc.sent"]
	echo()
	until(t, "the peer's next message is dropped", func() bool { return dropped() > was })
	if now := g.counters()["gtpc.sent"]; now != sent {
		t.Errorf("%d messages were sent", now-sent)
	}
	code, _ := get(t, "http://"+monitored+"/readyz")
	if _, metrics := get(t, "http://"+monitored+"/metrics"); code != 200 || !strings.Contains(metrics, "sealedge_config_restart_needed 1") || !strings.Contains(metrics, "sealedge_config_refused 0") {
		t.Errorf("ready: %d", code)
	}
	put(t, file, text+"log: {level: debug\n")
	becomes(t, "http://"+monitored+"/metrics", "sealedge_config_refused 1")
	becomes(t, "http://"+monitored+"/readyz?verbose", "refused, see the log")

	until(t, "the audit chain says it", func() bool {
		found := false
		if err := g.node.AuditRange(t.Context(), 1, func(e *command.AuditEntry) error {
			_, p, err := command.Decode(e.Command)
			if d, ok := p.(*command.RecordDecision); ok && d.Kind == "configuration" {
				found = slices.Contains(d.Reasons, "gateway.gtp.allowed_peers: [127.248.21.0/24], was [127.248.20.0/24]")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return found
	})
}
