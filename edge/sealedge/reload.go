package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/telemetry"
)

const (
	// fileSettles is how long a file must have been left alone before it is read: who
	// writes it in pieces isn't done.
	fileSettles = 100 * time.Millisecond
	// lookAnyway is how often it is looked at though nothing was heard of it.
	lookAnyway = 30 * time.Second
	// hangs is how long a reading takes that is said to hang.
	hangs = lookAnyway / 2
)

var errHangs = errors.New("its file system doesn't answer")

// reloader takes up what changes in the configuration file while the node runs, as far
// as that can be: see config.Reloadable. The file's directory is watched and not the
// file, which a platform may replace by switching a symlink beside it. A file with a
// mistake changes nothing.
type reloader struct {
	file   string
	flags  map[string]string
	apply  func(*config.Config)          // puts to work what can be
	record func(changes []config.Change) // has the audit chain say what was
	log    *slog.Logger

	// Owned by run.
	running *config.Config // that the node started with, and what it took up since
	seen    []byte         // the file as it was looked at last

	mu      sync.Mutex
	refused error    // guarded by mu: why the file as it is now isn't taken
	restart []string // guarded by mu: its keys that differ, and take a restart
}

// look is a reading of the file.
type look struct {
	raw   []byte
	err   error
	asked bool // by a person, who is told the outcome in any case
}

// run looks at the file whenever it changes, and at SIGHUP, until ctx ends. A file system
// that hangs keeps neither run nor who asks for the state waiting.
func (r *reloader) run(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	var events chan fsnotify.Event
	var errs chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer w.Close()
		if err = w.Add(filepath.Dir(r.file)); err == nil {
			events, errs = w.Events, w.Errors
		}
	}
	if err != nil {
		r.log.Warn("the configuration file can't be watched; it is looked at now and then, and at SIGHUP", "every", lookAnyway, "err", err)
	}
	anyway := time.NewTicker(lookAnyway)
	defer anyway.Stop()
	settled := time.NewTimer(time.Hour)
	settled.Stop()

	looks := make(chan look, 1) // has room for the one that is under way when run ends
	var next *look              // what is to be done after the one that is under way
	var since time.Time         // when that began; zero: none is
	begin := func(asked bool) {
		if !since.IsZero() {
			// What it has read may be from before the change.
			next = &look{asked: asked || next != nil && next.asked}
			return
		}
		since = time.Now()
		go func() {
			raw, err := os.ReadFile(r.file)
			looks <- look{raw, err, asked}
		}()
	}
	begin(false) // it may have changed since the node read it
	for {
		select {
		case <-events:
			settled.Reset(fileSettles)
		case err := <-errs:
			r.log.Warn("watching the configuration file", "err", err)
			settled.Reset(fileSettles)
		case <-settled.C:
			begin(false)
		case <-anyway.C:
			if !since.IsZero() && time.Since(since) >= hangs {
				r.take(look{err: errHangs})
			}
			begin(false)
		case <-hangup:
			begin(true)
		case l := <-looks:
			since = time.Time{}
			r.take(l)
			if again := next; again != nil {
				next = nil
				begin(again.asked)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// take takes up what has changed since the last look.
func (r *reloader) take(l look) {
	was := r.refusal()
	switch {
	case l.err != nil:
		if l.asked || was == nil || was.Error() != l.err.Error() {
			r.log.Error("the configuration file can't be read; the node goes on as it is", "err", l.err)
		}
		r.seen = nil
		r.refuse(l.err)
		return
	case !l.asked && r.seen != nil && bytes.Equal(l.raw, r.seen):
		return
	}
	r.seen = l.raw
	cfg, err := config.Parse(r.file, l.raw, r.flags)
	r.refuse(err)
	if err != nil {
		r.log.Error("the configuration file has changed, and has mistakes; the node goes on as it is", "err", err)
		return
	}
	changes, restart := config.Diff(r.running, cfg)
	if len(changes) > 0 {
		r.running = r.running.Take(cfg)
		r.apply(r.running)
		for _, c := range changes {
			r.log.Info("configuration changed", "key", c.Key, "from", c.Old, "to", c.New)
		}
		r.record(changes)
	}
	keys := config.Keys(restart)
	before := r.waitsFor(keys)
	switch {
	case len(keys) > 0 && (l.asked || !slices.Equal(keys, before)):
		r.log.Warn("the configuration file has changed in what takes a restart; the node goes on with the old values", "keys", keys)
	case len(keys) == 0 && len(changes) == 0 && (l.asked || was != nil || len(before) > 0):
		r.log.Info("the configuration file is as the node runs")
	}
}

func (r *reloader) refusal() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

func (r *reloader) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = err
}

// waitsFor notes which keys take a restart, and returns those that did before.
func (r *reloader) waitsFor(keys []string) (before []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.restart = r.restart, keys
	return before
}

// state is how the file stands against what the node runs with.
func (r *reloader) state() (s telemetry.Configuration) {
	if r == nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return telemetry.Configuration{Refused: r.refused != nil, RestartNeeded: len(r.restart) > 0}
}

// notes says the same, to people.
func (r *reloader) notes() (notes []string) {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != nil {
		notes = append(notes, "configuration: the file as it is now was refused, see the log; the node goes on as it is")
	}
	if len(r.restart) > 0 {
		notes = append(notes, "configuration: a restart is needed for "+strings.Join(r.restart, ", "))
	}
	return notes
}

// reloading has the node follow the file that its configuration is of. level is its
// log's.
func (g *gateway) reloading(file string, flags map[string]string, level *slog.LevelVar) {
	g.reloader = &reloader{
		file: file, flags: flags, running: g.cfg, log: g.component("configuration"), record: g.recordChanges,
		apply: func(cfg *config.Config) {
			level.Set(cfg.Log.Level)
			g.maxSessions.Store(int64(cfg.Gateway.GTP.MaxSessions))
			for _, f := range g.faces {
				f.control.Bound(cfg.Gateway.GTP.AllowedPeers, cfg.Gateway.GTP.Creates)
				f.plane.Bound(cfg.Gateway.GTP.AllowedPeers, cfg.Gateway.GTP.Answers)
			}
		},
	}
}

// recordChanges tries to have the audit chain say what changed here; the log has it in
// any case. Nothing waits for it: what is taken away from a peer is in force without a
// quorum.
func (g *gateway) recordChanges(changes []config.Change) {
	d := &command.RecordDecision{Kind: "configuration", Subject: string(g.cfg.Node.Name), Allowed: true}
	for _, c := range changes {
		d.Reasons = append(d.Reasons, fmt.Sprintf("%s: %s, was %s", c.Key, c.New, c.Old))
	}
	who := "node:" + string(g.cfg.Node.Name)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), proposeTime)
		defer cancel()
		if _, err := g.node.Propose(ctx, command.New(who, "", who, d)); err != nil {
			g.log.Warn("the audit chain doesn't say what changed in the configuration; the log does", "err", err)
		}
	}()
}
