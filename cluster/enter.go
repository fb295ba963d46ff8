package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// entry is how a node with an empty data directory comes into a cluster: into a
// new one, if all its peers are as empty, else into theirs.
//
// Nodes that begin a cluster must begin the same one, although each may lose its
// disk, and with it its id, at any moment. A node therefore begins only with ids
// that each of its peers, asked once more, names too; and from then on says that
// it is not empty. Ids only move on: two nodes that began with different ones
// would each have had to see the other's before its own.
type entry struct {
	mu   sync.Mutex
	seen map[string]raft.ServerID // the empty nodes that this one knows, by name, itself included; written by enter only
	done bool                     // a cluster was begun here, or known from the start
}

// greeting is what a node says of itself.
type greeting struct {
	ID    raft.ServerID            `json:"id"`
	Empty bool                     `json:"empty"`           // it has no log, and takes part in no cluster
	Seen  map[string]raft.ServerID `json:"seen,omitempty"`  // if it is empty: see entry
	Disk  *int                     `json:"disk,omitempty"`  // percent in use; nil: not known
	Level uint32                   `json:"level,omitempty"` // of the commands that it applies; 0: 1
	Full  bool                     `json:"full,omitempty"`  // see room
	Clock int64                    `json:"clock,omitempty"` // its own, Unix nanoseconds; 0: a build that doesn't tell

	Up      int64 `json:"up,omitempty"`      // how long its process has been running, in milliseconds; 0: a build that doesn't tell
	Drained bool  `json:"drained,omitempty"` // see accounts
	Process int64 `json:"process,omitempty"` // which process says it: when it began, Unix nanoseconds of its own clock
	Told    int64 `json:"told,omitempty"`    // how often that process had SetDrained called, when it said Drained
	Yielded int64 `json:"yielded,omitempty"` // how long ago it handed the leadership to the preferred node, in milliseconds; 0: it didn't
	Traces  bool  `json:"traces,omitempty"`  // it takes frameTraced
}

func (n *Node) greeting() greeting {
	n.entry.mu.Lock()
	defer n.entry.mu.Unlock()
	g := greeting{ID: n.id, Clock: n.cfg.now().UnixNano(), Empty: !n.entry.done && n.raft.LastIndex() == 0 && len(n.members()) == 0}
	if g.Empty {
		g.Seen = maps.Clone(n.entry.seen)
	}
	if used := int(n.room.used.Load()); used >= 0 {
		g.Disk = &used
	}
	g.Level = n.cfg.applies
	g.Full = n.room.full.Load()
	g.Up, g.Process = max(1, time.Since(n.began).Milliseconds()), n.began.UnixNano()
	g.Told = n.told.Load() // before what it counts: that is no older
	g.Drained = n.drained.Load()
	if at := n.preferred.last(); !at.IsZero() {
		g.Yielded = max(1, time.Since(at).Milliseconds())
	}
	g.Traces = !n.cfg.untraced
	return g
}

func (g greeting) frame(id uint64) frame { return g.in(frameGreeting, id) }

// question asks another node who it is, and says who asks. A build from before
// doesn't heed that.
func (g greeting) question(id uint64) frame { return g.in(frameGreet, id) }

func (g greeting) in(kind frameKind, id uint64) frame {
	body, err := json.Marshal(g)
	if err != nil {
		panic(err) // strings, numbers and booleans
	}
	return frame{kind: kind, id: id, body: body}
}

// endFrame answers a question that is answered by an error or its absence.
func endFrame(id uint64, err error) frame {
	f := frame{kind: frameEnd, id: id}
	if err != nil {
		f.body = []byte(err.Error())
	}
	return f
}

// toldAgain is how long a node doesn't log again what it waits for, before it is a member.
const toldAgain = 10 * time.Second

// enter brings this node into a cluster, and returns when it is a member for
// good.
func (n *Node) enter() {
	joined, err := lookUp(n.disk, keyJoined)
	if err != nil {
		n.fatal(fmt.Errorf("raft log: read %s beside: %w", keyJoined, err))
		return
	}
	if len(joined) > 0 {
		return
	}
	const slowest = time.Second
	pause := min(n.cfg.HeartbeatTimeout/4, slowest)
	told := map[string]time.Time{} // while nodes begin a cluster the state goes back and forth
	for last, wait := "", pause; ; wait = min(2*wait, slowest) {
		state, err := n.tryToEnter()
		switch {
		case err == nil && state == "":
			if err := n.disk.Set(keyJoined, []byte{1}); err == nil {
				n.log.Info("this node is a member of the cluster", "id", n.id)
			}
			return
		case err != nil:
			state = err.Error()
		}
		if state != last {
			if at := told[state]; at.IsZero() || time.Since(at) > toldAgain {
				n.log.Info("this node is not yet a member of a cluster", "id", n.id, "state", state)
				told[state] = time.Now()
			}
			last, wait = state, pause
		}
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
			return
		}
	}
}

// tryToEnter takes one more step, and tells what is waited for; nothing when this
// node is a member.
func (n *Node) tryToEnter() (waiting string, err error) {
	if n.isMember(n.id) {
		if err := n.memberLog.mark(); err != nil { // of a build that didn't
			return "", err
		}
		// Of a configuration that may not be committed: what the log has now is
		// what has to be.
		last := n.raft.LastIndex()
		select {
		case <-time.After(n.cfg.HeartbeatTimeout / 4):
		case <-n.ctx.Done():
			return "", n.ctx.Err()
		}
		if n.raft.CommitIndex() < last || !n.isMember(n.id) {
			return "its membership is not committed", nil
		}
		return "", nil
	}
	if n.memberLog.belonged.Load() {
		return notAgain, nil
	}
	greetings, err := n.greetPeers()
	if n.ctx.Err() != nil {
		return "", n.ctx.Err()
	}
	for name, g := range greetings {
		if !g.Empty {
			return n.askToJoin(name)
		}
	}
	seen := map[string]raft.ServerID{n.cfg.NodeName: n.id}
	agreed := err == nil
	for name, g := range greetings {
		seen[name] = g.ID
	}
	n.entry.mu.Lock()
	defer n.entry.mu.Unlock()
	for _, g := range greetings {
		agreed = agreed && maps.Equal(g.Seen, seen)
	}
	agreed = agreed && maps.Equal(n.entry.seen, seen) // since before they were asked
	n.entry.seen = seen
	switch {
	case err != nil:
		return "", err
	case !agreed:
		return "the peers are empty, too; they agree on who begins the cluster", nil
	case !n.cfg.Bootstrap:
		return "the peers are empty, too, and this node is configured not to begin a cluster", nil
	}
	n.entry.done = true
	var c raft.Configuration
	for _, id := range slices.Sorted(maps.Values(seen)) { // the same bytes on every node
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: id, Address: raft.ServerAddress(id)})
	}
	if err := n.raft.BootstrapCluster(c).Error(); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	n.lease.recount()
	n.log.Info("a new cluster begins", "members", slices.Sorted(maps.Values(seen)))
	return "its membership is not committed", nil
}

// greetPeers asks all peers at once who they are. The error names those that
// didn't answer.
func (n *Node) greetPeers() (map[string]greeting, error) {
	type answered struct {
		peer Peer
		g    greeting
		err  error
	}
	answers := make(chan answered, len(n.cfg.Peers))
	asked := 0
	for _, p := range n.cfg.Peers {
		if p.Name == n.cfg.NodeName {
			continue
		}
		asked++
		go func() {
			g, err := n.greet(n.ctx, p)
			answers <- answered{p, g, err}
		}()
	}
	greetings := map[string]greeting{}
	var silent []string
	for range asked {
		a := <-answers
		if a.err != nil {
			n.log.Debug("a peer doesn't answer", "peer", a.peer.Name, "error", a.err)
			silent = append(silent, a.peer.Name)
			continue
		}
		greetings[a.peer.Name] = a.g
	}
	if len(silent) > 0 {
		slices.Sort(silent)
		return greetings, fmt.Errorf("waiting for %v: a cluster begins only when all its nodes are there", silent)
	}
	return greetings, nil
}

// greet asks a peer who it is.
func (n *Node) greet(ctx context.Context, p Peer) (g greeting, err error) {
	asked := time.Now()
	f, err := n.askPeer(ctx, p, n.greeting().question(1))
	if err == nil {
		err = json.Unmarshal(f.body, &g)
	}
	if err == nil && (f.kind != frameGreeting || memberName(g.ID) != p.Name) {
		err = fmt.Errorf("%w: kind %d, node id %q", errFrame, f.kind, g.ID)
	}
	if err == nil {
		n.accounts.note(g, asked)
	}
	return g, err
}

// askToJoin asks every peer to let this node in; the leader does.
func (n *Node) askToJoin(known string) (string, error) {
	errs := []error{fmt.Errorf("node %s has a cluster already; this one asks to join it", known)}
	for _, p := range n.cfg.Peers {
		if p.Name == n.cfg.NodeName {
			continue
		}
		f, err := n.askPeer(n.ctx, p, frame{kind: frameJoin, id: 1, body: []byte(n.id)})
		switch {
		case err != nil:
		case f.kind != frameEnd:
			err = fmt.Errorf("%w: kind %d", errFrame, f.kind)
		case len(f.body) == 0:
			return "admitted by " + p.Name + ", waiting for the log", nil
		default:
			err = errors.New(string(f.body))
		}
		errs = append(errs, fmt.Errorf("node %s: %w", p.Name, err))
	}
	return "", errors.Join(errs...)
}

// askPeer sends one question over a connection of its own.
func (n *Node) askPeer(ctx context.Context, p Peer, q frame) (frame, error) {
	ctx, cancel := context.WithTimeout(ctx, raftIO)
	defer cancel()
	conn, err := n.port.dialNode(ctx, p.Name, p.Address, protoNode)
	if err != nil {
		return frame{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(q.append(nil)); err != nil {
		return frame{}, err
	}
	return readFrame(bufio.NewReader(conn))
}
