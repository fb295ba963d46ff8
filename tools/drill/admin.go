package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// Admin calls the nodes' API for operators.
type Admin struct {
	addresses []string
	http      *http.Client
}

// NewAdmin makes a client of all nodes, by host:port.
func NewAdmin(addresses []string, identity *tls.Config) *Admin {
	return &Admin{addresses: addresses, http: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: identity, MaxIdleConnsPerHost: 8},
	}}
}

// call asks one node after the other until one can tell.
func (a *Admin) call(ctx context.Context, method, path string, in, out any) error {
	key := rand.Text()
	var last error
	for _, address := range a.addresses {
		last = a.ask(ctx, address, method, path, key, in, out)
		var p *wire.Problem
		if last == nil || errors.As(last, &p) && p.Status < 500 {
			return last
		}
	}
	return last
}

func (a *Admin) ask(ctx context.Context, address, method, path, key string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := a.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		p := &wire.Problem{Title: answer.Status, Detail: string(b)}
		_ = json.Unmarshal(b, p) // else what came is the detail
		p.Status = answer.StatusCode
		return fmt.Errorf("%s %s: %w", method, path, p)
	}
	if raw, ok := out.(*rawBody); ok {
		*raw = b
		return nil
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

// patience is how long a node may take to say how it is. One that is stopped
// says nothing.
const patience = 500 * time.Millisecond

// statuses asks every node for itself; nil where one doesn't answer.
func (a *Admin) statuses(ctx context.Context) []*adminapi.Status {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all := make([]*adminapi.Status, len(a.addresses))
	var asked sync.WaitGroup
	for i, address := range a.addresses {
		asked.Go(func() {
			s := new(adminapi.Status)
			if a.ask(ctx, address, http.MethodGet, "/v1/status?stale=true", "", nil, s) == nil {
				all[i] = s
			}
		})
	}
	asked.Wait()
	return all
}

// holding is who holds the gateway address, as the newest status says.
type holding struct {
	node  string
	epoch uint64
}

func newest(all []*adminapi.Status) (h holding) {
	for _, s := range all {
		if s != nil && s.Epoch >= h.epoch {
			h = holding{s.Holder, s.Epoch}
		}
	}
	return h
}

// health explains what is wrong with a cluster; nil: nothing. Every node
// answers, one leads and holds the gateway address, and all are at the same
// place, give or take what is under way.
func health(all []*adminapi.Status) error {
	const underWay = 64
	var leader *adminapi.Status
	low, high := uint64(0), uint64(0)
	for i, s := range all {
		if s == nil {
			return fmt.Errorf("node %d of %d doesn't answer", i+1, len(all))
		}
		if s.IsLeader {
			leader = s
		}
		if i == 0 || s.Applied < low {
			low = s.Applied
		}
		high = max(high, s.Applied)
	}
	switch {
	case leader == nil:
		return errors.New("no node leads")
	case leader.Holder == "":
		return errors.New("no node holds the gateway address")
	case leader.Holder != leader.Node:
		return fmt.Errorf("%s leads, and %s holds the gateway address", leader.Node, leader.Holder)
	case high-low > underWay:
		return fmt.Errorf("a node is behind: one has applied %d, another %d", high, low)
	case len(leader.Peers) != len(all):
		return fmt.Errorf("%d nodes are known here, and the cluster has %d members", len(all), len(leader.Peers))
	}
	for _, s := range all {
		if s.Leader != leader.Node {
			return fmt.Errorf("%s follows %q and not %s", s.Node, s.Leader, leader.Node)
		}
	}
	return nil
}

// healthy waits until the cluster is.
func (a *Admin) healthy(ctx context.Context) error {
	var err error
	if !wait(ctx, 10*time.Millisecond, func() bool { err = health(a.statuses(ctx)); return err == nil }) {
		return fmt.Errorf("the cluster is not healthy: %w", err)
	}
	return nil
}

func (a *Admin) sessions(ctx context.Context) ([]adminapi.Session, error) {
	return adminapi.All[adminapi.Session]("/v1/sessions", func(path string, into any) error {
		return a.call(ctx, http.MethodGet, path, nil, into)
	})
}

// stepDown asks the leader to hand over; address is by node name.
func (a *Admin) stepDown(ctx context.Context) error {
	for i, s := range a.statuses(ctx) {
		if s != nil && s.IsLeader {
			return a.ask(ctx, a.addresses[i], http.MethodPost, "/v1/cluster/step-down", rand.Text(), nil, nil)
		}
	}
	return errors.New("no node leads")
}
