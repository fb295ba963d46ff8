package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// AuditRange calls fn with every entry of the audit chain from sequence number
// from (1 is the first) to the last that this node has applied, in order. Entries
// that aren't on this node are fetched from its peers first; if that fails, the
// error is ErrAuditGap and fn was not called. An error of fn ends it.
func (n *Node) AuditRange(ctx context.Context, from uint64, fn func(*command.AuditEntry) error) error {
	head := n.audit.tail()
	from = max(from, 1)
	if from > head.sequence {
		return nil
	}
	if err := n.fillGaps(ctx, from); err != nil {
		return err
	}
	return n.audit.read(from, head.sequence, func(e *command.AuditEntry) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return fn(e)
	})
}

// auditGap is a range of entries that aren't here, and what they must link.
type auditGap struct {
	first, last  uint64
	before, upon []byte // the hashes of the entry before first, and of last
}

// keepAudit fetches what a snapshot left out, so that every node has the whole
// chain as soon as another can give it.
func (n *Node) keepAudit() {
	const slowest = time.Minute
	wait := time.Second
	retry := time.NewTimer(0)
	for {
		select {
		case <-n.auditGap:
			wait = time.Second
		case <-retry.C:
		case <-n.ctx.Done():
			return
		}
		if err := n.fillGaps(n.ctx, 1); err != nil && n.ctx.Err() == nil {
			n.log.Warn("part of the audit chain is missing here and can't be fetched yet", "error", err, "retry", wait)
			retry.Reset(wait)
			wait = min(2*wait, slowest)
		}
	}
}

// fillGaps fetches every gap that ends at or after from.
func (n *Node) fillGaps(ctx context.Context, from uint64) error {
	select {
	case n.filling <- struct{}{}:
		defer func() { <-n.filling }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, g := range n.audit.gaps() {
		if g.last < from {
			continue
		}
		if err := n.audit.anchor(&g); err != nil {
			return err
		}
		errs := []error{fmt.Errorf("%w: entries %d to %d", ErrAuditGap, g.first, g.last)}
		for _, p := range n.cfg.Peers {
			if p.Name == n.cfg.NodeName {
				continue
			}
			err := n.fetchAudit(ctx, p, g)
			if err == nil {
				n.log.Info("fetched audit entries", "first", g.first, "last", g.last, "from", p.Name)
				errs = nil
				break
			}
			errs = append(errs, fmt.Errorf("node %s: %w", p.Name, err))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// fetchAudit fills one gap from one peer, wholly or not at all.
func (n *Node) fetchAudit(ctx context.Context, p Peer, g auditGap) error {
	dialCtx, cancel := context.WithTimeout(ctx, raftIO)
	conn, err := n.port.dialNode(dialCtx, p.Name, p.Address, protoNode)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	request := frame{kind: frameAudit, id: 1, body: binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, g.first), g.last)}
	if _, err := conn.Write(request.append(nil)); err != nil {
		return err
	}
	fill := &auditFill{audit: n.audit, gap: g, next: g.first, hash: g.before}
	defer fill.discard()
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(raftIO)); err != nil {
			return err
		}
		f, err := readFrame(r)
		switch {
		case err != nil:
			return err
		case f.kind == frameEnd && len(f.body) > 0:
			return errors.New(string(f.body))
		case f.kind == frameEnd:
			return fill.commit()
		case f.kind != frameEntry:
			return fmt.Errorf("%w: kind %d", errFrame, f.kind)
		}
		e := new(command.AuditEntry)
		if err := proto.Unmarshal(f.body, e); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		if err := fill.add(e); err != nil {
			return err
		}
	}
}

// serveAudit streams entries that are on this node to a peer.
func (n *Node) serveAudit(c *frameConn, f frame) {
	if len(f.body) != 16 {
		c.kill()
		return
	}
	first, last := binary.BigEndian.Uint64(f.body), binary.BigEndian.Uint64(f.body[8:])
	if head := n.audit.tail().sequence; first < 1 || last > head {
		c.send(frame{kind: frameEnd, id: f.id, body: fmt.Appendf(nil, "has entries up to %d", head)})
		return
	}
	var end []byte
	err := n.audit.read(first, last, func(e *command.AuditEntry) error {
		if !c.send(frame{kind: frameEntry, id: f.id, body: command.Marshal(e)}) {
			return errClosed
		}
		return nil
	})
	if err != nil {
		end = []byte(err.Error())
	}
	c.send(frame{kind: frameEnd, id: f.id, body: end})
}

// gaps lists the ranges that are not on this node, without their hashes.
func (a *auditLog) gaps() []auditGap {
	a.mu.Lock()
	defer a.mu.Unlock()
	var gaps []auditGap
	next := uint64(1)
	segments := a.sealed
	if a.open != nil {
		segments = append(slices.Clip(segments), a.open.segment)
	}
	for _, s := range segments {
		if s.first > next {
			gaps = append(gaps, auditGap{first: next, last: s.first - 1})
		}
		next = s.last + 1
	}
	if next <= a.head.sequence {
		gaps = append(gaps, auditGap{first: next, last: a.head.sequence, upon: a.head.hash})
	}
	return gaps
}

// anchor finds the hashes at both ends of a gap.
func (a *auditLog) anchor(g *auditGap) error {
	g.before = make([]byte, 32)
	if g.first > 1 {
		if err := a.read(g.first-1, g.first-1, func(e *command.AuditEntry) error { g.before = e.Hash; return nil }); err != nil {
			return err
		}
	}
	if g.upon != nil {
		return nil
	}
	return a.read(g.last+1, g.last+1, func(e *command.AuditEntry) error { g.upon = e.PrevHash; return nil })
}

// auditFill collects the entries of a gap in files that count only when the last
// entry turned out to be the one that this node's chain goes on from.
type auditFill struct {
	audit *auditLog
	gap   auditGap
	next  uint64
	hash  []byte
	parts []segment
	file  *os.File
	w     *bufio.Writer
	size  int64
}

func (f *auditFill) add(e *command.AuditEntry) error {
	if f.next > f.gap.last {
		return fmt.Errorf("%w: more entries than asked for", errFrame)
	}
	if err := follows(e, f.next, f.hash); err != nil {
		return err
	}
	if f.file == nil {
		s := segment{first: e.Sequence, path: filepath.Join(f.audit.dir, fmt.Sprintf("%020d.part", e.Sequence))}
		file, err := os.OpenFile(s.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		f.parts, f.file, f.w, f.size = append(f.parts, s), file, bufio.NewWriterSize(file, 64<<10), 0
	}
	size, err := protodelim.MarshalTo(f.w, e)
	if err != nil {
		return err
	}
	f.parts[len(f.parts)-1].last = e.Sequence
	f.next, f.hash, f.size = e.Sequence+1, e.Hash, f.size+int64(size)
	if f.size >= f.audit.segmentSize {
		return f.finishPart()
	}
	return nil
}

func (f *auditFill) finishPart() error {
	if f.file == nil {
		return nil
	}
	err := errors.Join(f.w.Flush(), f.file.Sync(), f.file.Close())
	f.file = nil
	return err
}

func (f *auditFill) commit() error {
	if f.next <= f.gap.last {
		return fmt.Errorf("entries %d to %d didn't come", f.next, f.gap.last)
	}
	if !bytes.Equal(f.hash, f.gap.upon) {
		return errors.New("its audit chain is another one: compare the nodes' chains with sealctl")
	}
	if err := f.finishPart(); err != nil {
		return err
	}
	a := f.audit
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range f.parts {
		path := filepath.Join(a.dir, sealedSegmentName(s))
		if err := os.Rename(s.path, path); err != nil {
			return err
		}
		s.path = path
		a.sealed = append(a.sealed, s)
	}
	f.parts = nil
	slices.SortFunc(a.sealed, segment.compare)
	return syncDir(a.dir)
}

// discard removes what was not committed.
func (f *auditFill) discard() {
	if f.file != nil {
		f.file.Close()
	}
	for _, s := range f.parts {
		os.Remove(s.path)
	}
}
