package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// maxForwarded bounds what one peer can have carried out at once.
const maxForwarded = 1024

// forwarder keeps one connection to each peer for questions.
type forwarder struct {
	port   *port
	traces bool // who is asked is asked first whether it takes traces

	mu    sync.Mutex
	conns map[string]*peerConn // by node name
}

func newForwarder(p *port) *forwarder {
	return &forwarder{port: p, conns: map[string]*peerConn{}}
}

// peerConn is a connection to a peer, or the attempt at one.
type peerConn struct {
	ready chan struct{} // closed when conn or err is set
	conn  *frameConn
	err   error

	traces atomic.Bool // the peer takes frameTraced

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*reply // nil when the connection died
}

// reply is what one question waits for.
type reply struct {
	ready  chan struct{} // closed when answer is set
	answer answer
}

// to returns the connection to a peer, dialling it unless that is under way.
func (f *forwarder) to(peer Peer) *peerConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.conns[peer.Name]; c != nil {
		return c
	}
	c := &peerConn{ready: make(chan struct{}), waiting: map[uint64]*reply{}}
	f.conns[peer.Name] = c
	go func() {
		defer f.forget(peer.Name, c)
		ctx, cancel := context.WithTimeout(context.Background(), raftIO)
		conn, err := f.port.dialNode(ctx, peer.Name, peer.Address, protoNode)
		cancel()
		if err != nil {
			c.err = err
			close(c.ready)
			return
		}
		c.conn = newFrameConn(conn)
		close(c.ready)
		go c.conn.write()
		if f.traces {
			c.askTraces()
		}
		c.read()
	}()
	return c
}

func (f *forwarder) forget(name string, c *peerConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns[name] == c {
		delete(f.conns, name)
	}
}

// read hands out answers until the connection dies. Whoever waits then will not
// know.
func (c *peerConn) read() {
	r := bufio.NewReader(c.conn.conn)
	var err error
	for err == nil {
		var f frame
		if f, err = readFrame(r); err != nil {
			break
		}
		if c.told(f) {
			continue
		}
		var a answer
		if a, err = decodeAnswer(f); err == nil {
			c.settle(f.id, a)
		}
	}
	c.conn.kill()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waiting {
		w.answer = answer{verdict: unknown, err: fmt.Errorf("the connection to the leader broke: %w", err)}
		close(w.ready)
	}
	c.waiting = nil
}

// register takes a number for a question; false if the connection died.
func (c *peerConn) register() (uint64, *reply, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return 0, nil, false
	}
	c.last++
	w := &reply{ready: make(chan struct{})}
	c.waiting[c.last] = w
	return c.last, w, true
}

func (c *peerConn) settle(id uint64, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waiting[id]; w != nil {
		w.answer = a
		close(w.ready)
		delete(c.waiting, id)
	}
}

func (c *peerConn) unregister(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// forward asks the leader over the network. Once a question is queued for the
// wire, only the leader's answer makes the outcome certain.
func (n *Node) forward(ctx context.Context, peer Peer, q question) (a answer) {
	if q.raw != nil {
		var span trace.Span
		if ctx, span = n.span(ctx, spanForward); span.IsRecording() {
			span.SetAttributes(keyLeader.String(peer.Name))
			defer func() { ended(span, a.verdict.code()) }()
		}
	}
	c := n.forwards.to(peer)
	if err := n.whileLeading(ctx, peer, c.ready); err != nil {
		return answer{verdict: notDone, err: err}
	}
	if c.err != nil {
		return answer{verdict: notDone, err: c.err}
	}
	id, w, ok := c.register()
	if !ok {
		return answer{verdict: notDone, err: fmt.Errorf("the connection to the leader %s broke", peer.Name)}
	}
	defer c.unregister(id)
	f := q.frame(ctx, id)
	if c.traces.Load() {
		f = f.traced(ctx)
	}
	select {
	case c.conn.out <- f:
	case <-c.conn.dead:
		return answer{verdict: notDone, err: fmt.Errorf("the connection to the leader %s broke", peer.Name)}
	case <-ctx.Done():
		return answer{verdict: notDone, err: context.Cause(ctx)}
	}
	if err := n.whileLeading(ctx, peer, w.ready); err != nil {
		return answer{verdict: unknown, err: err}
	}
	return w.answer
}

// whileLeading waits until ready closes, or until another node has been the leader
// for a heartbeat timeout, in which the old one would have answered if it could.
func (n *Node) whileLeading(ctx context.Context, peer Peer, ready <-chan struct{}) error {
	var grace <-chan time.Time
	for {
		role := n.roleChange.next()
		name, _ := n.Leader()
		switch {
		case name == peer.Name || name == "":
			grace = nil
		case grace == nil:
			grace = time.After(n.cfg.HeartbeatTimeout)
		}
		select {
		case <-ready:
			return nil
		case <-role:
		case <-grace:
			return fmt.Errorf("%s leads no more and didn't answer", peer.Name)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (q question) frame(ctx context.Context, id uint64) frame {
	ms := uint32(0)
	if d, ok := ctx.Deadline(); ok {
		ms = uint32(max(0, time.Until(d).Milliseconds()))
	}
	if q.read {
		ms |= readIndex
	}
	f := frame{kind: frameBarrier, id: id, body: binary.BigEndian.AppendUint32(nil, ms)}
	if q.raw != nil {
		f.kind, f.body = framePropose, append(f.body, q.raw...)
	}
	return f
}

func (a answer) frame(id uint64) frame {
	if a.verdict != done {
		return frame{kind: frameRefused, id: id, body: append([]byte{byte(a.verdict)}, a.err.Error()...)}
	}
	body := binary.BigEndian.AppendUint64(nil, a.index)
	if a.result != nil {
		body = append(body, command.Marshal(a.result)...)
	}
	return frame{kind: frameDone, id: id, body: body}
}

// decodeAnswer reads what the leader answered.
func decodeAnswer(f frame) (answer, error) {
	switch {
	case f.kind == frameDone && len(f.body) >= 8:
		a := answer{verdict: done, index: binary.BigEndian.Uint64(f.body), result: new(command.Result)}
		if err := proto.Unmarshal(f.body[8:], a.result); err != nil {
			return answer{}, fmt.Errorf("%w: %w", errFrame, err)
		}
		return a, nil
	case f.kind == frameRefused && len(f.body) >= 1:
		a := answer{verdict: verdict(f.body[0]), err: fmt.Errorf("the leader says: %s", f.body[1:])}
		switch a.verdict {
		case notDone, unknown:
			return a, nil
		case rejected:
			a.err = fmt.Errorf("%w (%w)", rejection(f.body[1:]), a.err)
			return a, nil
		}
	}
	return answer{}, fmt.Errorf("%w: kind %d", errFrame, f.kind)
}

// rejections are the reasons for which a leader takes no command. They cross the
// wire by their words, which stand first: a node that doesn't know one takes it for
// ErrUnknownCommand.
var rejections = []error{command.ErrNoRoom, command.ErrLevel}

func rejection(words []byte) error {
	for _, err := range rejections {
		if strings.HasPrefix(string(words), err.Error()) {
			return err
		}
	}
	return command.ErrUnknownCommand
}

// serveNode answers a peer until its connection ends.
func (n *Node) serveNode(conn link) {
	select {
	case <-n.ready:
	case <-n.ctx.Done():
		return
	}
	c := newFrameConn(conn)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(c.write)
	defer tasks.Wait()
	defer cancel()
	defer c.kill()
	slots := make(chan struct{}, maxForwarded)
	r := bufio.NewReader(conn)
	for {
		f, err := readFrame(r)
		if err != nil {
			if errors.Is(err, errFrame) {
				n.log.Warn("cluster port: connection dropped", "remote", conn.RemoteAddr(), "reason", err)
			}
			return
		}
		slots <- struct{}{}
		tasks.Go(func() {
			defer func() { <-slots }()
			n.serveFrame(ctx, c, conn.peer, f)
		})
	}
}

func (n *Node) serveFrame(ctx context.Context, c *frameConn, peer string, f frame) {
	switch f.kind {
	case frameAudit:
		n.serveAudit(c, f)
		return
	case frameGreet:
		n.noteAsker(peer, f.body)
		c.send(n.greeting().frame(f.id))
		return
	case frameJoin:
		c.send(endFrame(f.id, n.admit(ctx, peer, raft.ServerID(f.body))))
		return
	case frameRenew:
		c.send(n.serveRenewal(peer, f.body).frame(f.id))
		return
	}
	if f.kind == frameTraced && !n.cfg.untraced {
		var ok bool
		if ctx, f, ok = f.untraced(ctx); !ok {
			c.kill()
			return
		}
	}
	q := question{}
	switch {
	case f.kind == framePropose && len(f.body) > 4:
		q.raw = f.body[4:]
	case f.kind == frameBarrier && len(f.body) == 4:
		q.read = f.body[0]&(readIndex>>24) != 0
		f.body[0] &^= readIndex >> 24
	default:
		c.kill()
		return
	}
	allowed := min(time.Duration(binary.BigEndian.Uint32(f.body))*time.Millisecond, n.cfg.ApplyTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, allowed, errTimeout)
	defer cancel()
	a := answer{verdict: notDone, err: errNoLeader}
	if n.IsLeader() { // never forwarded on: two nodes could send it round for ever
		a = n.lead(ctx, q)
	}
	c.send(a.frame(f.id))
}
