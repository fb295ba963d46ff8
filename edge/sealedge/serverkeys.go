package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/keywrap"
	"github.com/sealedge/sealedge/edge/sealuse"
)

// serverKeys has the endpoints of the fallback path answer to the keys that the
// cluster keeps, on every node: the one that takes over has them. The node that leads
// makes the first key, and retires the one that was replaced when its time is over.
type serverKeys struct {
	cluster proposer
	leads   func() bool
	changed func() <-chan struct{} // of the state
	wrapper *keywrap.Wrapper
	// file reads the key of a configuration from before the cluster kept one; nil:
	// there is none. It is what a cluster uses whose nodes don't all know better yet,
	// and then its first key, so that clients notice nothing.
	file func() ([32]byte, error)
	set  func(private ...[32]byte) error // newest first; has all endpoints answer to them
	log  *slog.Logger

	mu   sync.Mutex
	have []string // guarded by mu: the public keys that the endpoints answer to
}

// openKeys makes the keeper of the fallback path's keys, if there is one. A key file
// that can't be read is a mistake of the configuration, which is told at once.
func (g *gateway) openKeys() error {
	wg := g.cfg.Gateway.WireGuard
	if !wg.Enabled() {
		return nil
	}
	g.keys = &serverKeys{
		cluster: g.node, leads: g.node.Holds, changed: g.node.Changed, wrapper: g.secrets.wrapper, log: g.component("wireguard"),
		set: func(private ...[32]byte) (err error) {
			for _, f := range g.faces {
				err = errors.Join(err, f.fallback.SetKeys(private...))
			}
			return err
		},
	}
	if wg.PrivateKeyFile != "" {
		g.keys.file = wg.PrivateKey
	}
	return g.keys.follow(time.Now())
}

const (
	// keyLevel is the command level from which the state has server keys.
	keyLevel = 2
	// tendKeysEvery is how precise the end of an overlap is on record. No endpoint
	// answers to a key whose time is over.
	tendKeysEvery = time.Second
)

// keyOwner is what a server key is wrapped for.
func keyOwner(public []byte) string { return "wireguard-server:" + hex.EncodeToString(public) }

// follow sets the endpoints to the keys that are good now.
func (k *serverKeys) follow(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	records := k.good(now)
	var names []string
	for _, r := range records {
		names = append(names, string(r.PublicKey))
	}
	if len(records) == 0 {
		if k.file == nil {
			return nil // the leader makes one
		}
		names = []string{""}
	}
	if slices.Equal(names, k.have) {
		return nil
	}
	private, err := k.open(records)
	defer clear(private)
	if err != nil {
		return err
	}
	if err := k.set(private...); err != nil {
		return fmt.Errorf("the fallback path's keys: %w", err)
	}
	k.have = names
	if len(records) > 0 {
		k.log.Info("the fallback path answers to", "key", base64.StdEncoding.EncodeToString(records[0].PublicKey), "keys", len(records))
	}
	return nil
}

// good lists the keys of the state, newest first, without one whose time is over.
func (k *serverKeys) good(now time.Time) (records []*command.ServerKey) {
	k.cluster.View(func(m *state.Machine) {
		now = sealuse.Later(now, m.Clock())
		records = m.ServerKeys()
	})
	return slices.DeleteFunc(records, func(r *command.ServerKey) bool { return over(r, now) })
}

func over(k *command.ServerKey, now time.Time) bool { return k.Until != 0 && now.UnixNano() >= k.Until }

// open unwraps keys, or reads the file when the state has none. What it returns is the
// caller's to clear.
func (k *serverKeys) open(records []*command.ServerKey) (private [][32]byte, err error) {
	private = make([][32]byte, 0, 2) // so that it isn't copied as it grows
	for _, r := range records {
		raw, err := k.wrapper.Unwrap(keyOwner(r.PublicKey), r.PrivateKey)
		if err != nil {
			return private, fmt.Errorf("the fallback path's key: %w", err)
		}
		if len(raw) != len([32]byte{}) {
			return private, fmt.Errorf("the fallback path's key has %d bytes", len(raw))
		}
		private = append(private, [32]byte(raw))
		clear(raw)
	}
	if len(records) == 0 && k.file != nil {
		key, err := k.file()
		if err != nil {
			return private, fmt.Errorf("gateway.wireguard.private_key_file: %w", err)
		}
		private = append(private, key)
	}
	return private, nil
}

// run tends the keys until ctx ends.
func (k *serverKeys) run(ctx context.Context) error {
	tick := time.NewTicker(tendKeysEvery)
	defer tick.Stop()
	told := ""
	for {
		// The first key is made as soon as it can be; after that a change of the keys
		// is followed with that of the peers.
		var changed <-chan struct{}
		if !k.hasKey() {
			changed = k.changed()
		}
		err := k.follow(time.Now())
		if err == nil {
			err = k.tend(ctx, time.Now())
		}
		// Once: it is tried again every second.
		if err != nil && err.Error() != told && ctx.Err() == nil {
			k.log.Error("keys of the fallback path; it is tried again", "err", err)
		}
		if told = ""; err != nil {
			told = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-changed:
		}
	}
}

// hasKey tells whether the cluster has one.
func (k *serverKeys) hasKey() (has bool) {
	k.cluster.View(func(m *state.Machine) { has = len(m.ServerKeys()) > 0 })
	return has
}

// tend does what is the leader's: the first key, and the end of those that were
// replaced.
func (k *serverKeys) tend(ctx context.Context, now time.Time) error {
	if !k.leads() {
		return nil
	}
	var records []*command.ServerKey
	var level uint32
	k.cluster.View(func(m *state.Machine) {
		now = sealuse.Later(now, m.Clock())
		records, level = m.ServerKeys(), m.Level()
	})
	if level < keyLevel {
		return nil
	}
	if len(records) == 0 {
		return k.first(ctx)
	}
	for _, r := range records {
		if over(r, now) {
			return k.propose(ctx, "key of the fallback path retired", &command.RetireServerKey{PublicKey: r.PublicKey, Reason: "its overlap is over"})
		}
	}
	return nil
}

// first makes the cluster's first key, or takes over that of the configuration.
func (k *serverKeys) first(ctx context.Context) error {
	var private [32]byte
	defer clear(private[:])
	if k.file != nil {
		key, err := k.file()
		if err != nil {
			return fmt.Errorf("gateway.wireguard.private_key_file: %w", err)
		}
		private = key
		clear(key[:])
	} else if _, err := rand.Read(private[:]); err != nil {
		return err
	}
	// As "wg genkey" does: X25519 makes these bits so anyway (RFC 7748 5).
	private[0] &= 248
	private[31] = private[31]&127 | 64
	curve, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return err
	}
	public := curve.PublicKey().Bytes()
	wrapped, err := k.wrapper.Wrap(keyOwner(public), private[:], rand.Reader)
	if err != nil {
		return err
	}
	return k.propose(ctx, "the cluster has a key of the fallback path", &command.PutServerKey{PublicKey: public, PrivateKey: wrapped})
}

// propose proposes what another node may have done meanwhile, which is as good.
func (k *serverKeys) propose(ctx context.Context, what string, payload proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	r, err := k.cluster.Propose(ctx, command.New("fallback-keys", "", "fallback", payload))
	if err != nil {
		return err
	}
	k.log.Info(what, "result", r.Code, "why", r.Message)
	return nil
}
