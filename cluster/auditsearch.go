package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
)

// Bounds of one search, beside the query's own.
const (
	searchTime  = 5 * time.Second
	searchBytes = 16 << 20 // of the entries found
)

// AuditSearch finds entries of the audit chain. There is no index: it reads the
// chain, of which it decodes only the entries that have the bytes of what is asked
// for (chain.Query.RulesOut). BenchmarkAuditSearch says how fast that is.
//
// Entries that aren't on this node are fetched from its peers first; if that fails,
// the error is ErrAuditGap.
func (n *Node) AuditSearch(ctx context.Context, q chain.Search) (chain.Found, error) {
	head := n.audit.tail().sequence
	q.From = max(q.From, 1)
	if q.To == 0 || q.To > head {
		q.To = head
	}
	if q.From > q.To || q.Limit <= 0 {
		return chain.Found{}, nil
	}
	if err := n.fillGaps(ctx, q.From); err != nil {
		return chain.Found{}, err
	}
	return n.audit.search(ctx, q, time.Now().Add(searchTime))
}

// search goes through the segments in the order that is asked for, until it has
// enough or it is late.
func (a *auditLog) search(ctx context.Context, q chain.Search, until time.Time) (found chain.Found, err error) {
	a.mu.Lock()
	segments := slices.Clone(a.sealed)
	if a.open != nil {
		segments = append(segments, a.open.segment)
	}
	a.mu.Unlock()
	// The last entries may be of a batch that is not written yet.
	if err := a.flush(); err != nil {
		return chain.Found{}, err
	}
	next := q.From
	if q.Newest {
		slices.Reverse(segments)
		next = q.To
	}
	size := 0
	r := newEntryReader()
	for _, s := range segments {
		if s.last < q.From || s.first > q.To {
			continue
		}
		if err := ctx.Err(); err != nil {
			return chain.Found{}, context.Cause(ctx)
		}
		if !time.Now().Before(until) || size > searchBytes {
			found.Next = next
			return found, nil
		}
		list, err := a.within(s, q, r)
		if err != nil {
			return chain.Found{}, err
		}
		if q.Newest {
			slices.Reverse(list)
		}
		for i, e := range list {
			if len(found.Entries) == q.Limit || size > searchBytes {
				found.Next = list[i].Sequence
				return found, nil
			}
			found.Entries = append(found.Entries, e)
			size += len(e.Command) + len(e.Result)
		}
		if next = s.last + 1; q.Newest {
			next = s.first - 1
		}
	}
	return found, nil
}

// within finds the entries of one segment, the oldest first: no more than the query
// can use.
func (a *auditLog) within(s segment, q chain.Search, r *entryReader) ([]*command.AuditEntry, error) {
	f, err := os.Open(s.path)
	if errors.Is(err, os.ErrNotExist) { // the open one was sealed meanwhile
		a.mu.Lock()
		for _, sealed := range a.sealed {
			if sealed.first == s.first {
				s.path = sealed.path
			}
		}
		a.mu.Unlock()
		f, err = os.Open(s.path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []*command.AuditEntry
	r.reset(f)
	for at := s.first; at <= min(s.last, q.To); at++ {
		b, err := r.next()
		if err != nil {
			return nil, fmt.Errorf("%s: entry %d: %w", s.path, at, err)
		}
		if at < q.From || rulesOut(&q.Query, b) {
			continue
		}
		e := new(command.AuditEntry)
		if err := proto.Unmarshal(b, e); err != nil {
			return nil, fmt.Errorf("%s: entry %d: %w", s.path, at, err)
		}
		if e.Sequence != at {
			return nil, fmt.Errorf("%s: entry %d stands where %d belongs", s.path, e.Sequence, at)
		}
		if q.Filters() {
			read, err := chain.Read(e)
			if err != nil {
				return nil, err
			}
			if !q.Matches(read) {
				continue
			}
		}
		switch {
		case !q.Newest && len(list) > q.Limit: // one more tells where to go on
			return list, nil
		case q.Newest && len(list) > q.Limit:
			list = slices.Delete(list, 0, 1)
		}
		list = append(list, e)
	}
	return list, nil
}

// rulesOut tells of an entry's bytes that it isn't wanted, without decoding it.
func rulesOut(q *chain.Query, encoded []byte) bool {
	if q.Type != command.Type_TYPE_UNSPECIFIED || !q.Since.IsZero() || !q.Until.IsZero() {
		kind, stamp, ok := envelope(encoded)
		at := time.Unix(0, stamp)
		if ok && (q.Type != command.Type_TYPE_UNSPECIFIED && kind != q.Type ||
			!q.Since.IsZero() && at.Before(q.Since) || !q.Until.IsZero() && !at.Before(q.Until)) {
			return true
		}
	}
	return q.RulesOut(encoded)
}

// envelope reads type and leader's stamp of the command in an encoded entry. ok is
// false when it has to be decoded to know.
func envelope(encoded []byte) (kind command.Type, stamp int64, ok bool) {
	var c []byte
	if !fields(encoded, func(f protowire.Number, v []byte, _ uint64) bool {
		if f == 3 { // command, in AuditEntry
			c = v
		}
		return f < 3
	}) || c == nil {
		return 0, 0, false
	}
	ok = fields(c, func(f protowire.Number, _ []byte, v uint64) bool {
		switch f {
		case 2: // type, in Command
			kind = command.Type(v)
		case 5: // leader_time
			stamp = int64(v)
		}
		return f < 5
	})
	return kind, stamp, ok
}

// fields goes through the fields of an encoded message, as long as fn wants more.
func fields(b []byte, fn func(f protowire.Number, bytes []byte, varint uint64) bool) (ok bool) {
	for len(b) > 0 {
		f, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		var v []byte
		var u uint64
		m := 0
		switch kind {
		case protowire.BytesType:
			v, m = protowire.ConsumeBytes(b[n:])
		case protowire.VarintType:
			u, m = protowire.ConsumeVarint(b[n:])
		default:
			m = protowire.ConsumeFieldValue(f, kind, b[n:])
		}
		if m < 0 {
			return false
		}
		if b = b[n+m:]; !fn(f, v, u) {
			return true
		}
	}
	return true
}

// entryReader reads the records of a segment without decoding them.
type entryReader struct {
	r    *bufio.Reader
	skip int // of the last record, that was only looked at
	big  []byte
}

func newEntryReader() *entryReader { return &entryReader{r: bufio.NewReaderSize(nil, 256<<10)} }

// reset goes on with another file.
func (e *entryReader) reset(f io.Reader) {
	e.r.Reset(f)
	e.skip = 0
}

// next returns the bytes of the next record, which are good until it is called
// again.
func (e *entryReader) next() ([]byte, error) {
	if _, err := e.r.Discard(e.skip); err != nil {
		return nil, err
	}
	e.skip = 0
	n, err := binary.ReadUvarint(e.r)
	if err != nil {
		return nil, err
	}
	if n > maxAuditEntry {
		return nil, fmt.Errorf("a record of %d bytes", n)
	}
	if int(n) <= e.r.Size() {
		b, err := e.r.Peek(int(n))
		e.skip = len(b)
		return b, err
	}
	if uint64(cap(e.big)) < n {
		e.big = make([]byte, n)
	}
	_, err = io.ReadFull(e.r, e.big[:n])
	return e.big[:n], err
}
