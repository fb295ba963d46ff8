package cluster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
)

// ErrAuditGap is chain.ErrGap.
var ErrAuditGap = chain.ErrGap

// errAuditDiverged: this node's files and its log disagree about the past.
var errAuditDiverged = errors.New("the audit files contradict the log: this node's data directory is damaged or was mixed from two; keep it for inspection, and start the node with an empty one")

// auditSegmentSize is the size in bytes at which a segment is sealed.
const auditSegmentSize = 8 << 20

// auditLog keeps the audit chain in segment files of length-delimited
// AuditEntry messages. A sealed segment is named for the sequence numbers that it
// holds, was synced, and never changes; the open one is appended to.
type auditLog struct {
	dir         string
	segmentSize int64

	mu     sync.Mutex // guards all below
	sealed []segment  // sorted by first, disjoint; gaps are possible
	open   *openSegment
	head   auditHead
	replay *auditReplay
}

// auditHead is the end of the chain. The entry itself may be in a gap.
type auditHead struct {
	sequence uint64
	hash     []byte
}

// openAuditLog opens the files in dir. If the last of them ended in something else
// than entries of the chain, cut names the file that this was moved to.
func openAuditLog(dir string, segmentSize int64) (a *auditLog, cut string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	a = &auditLog{dir: dir, segmentSize: segmentSize, head: auditHead{hash: make([]byte, 32)}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", err
	}
	var unsealed []segment
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		s, kind := parseSegmentName(path)
		switch kind {
		case segmentSealed:
			a.sealed = append(a.sealed, s)
		case segmentOpen:
			unsealed = append(unsealed, s)
		case segmentPart: // of a fetch that was broken off
			if err := os.Remove(path); err != nil {
				return nil, "", err
			}
		}
	}
	slices.SortFunc(a.sealed, segment.compare)
	for i, s := range a.sealed {
		if i > 0 && s.first <= a.sealed[i-1].last {
			return nil, "", fmt.Errorf("audit segments %s and %s overlap", a.sealed[i-1].path, s.path)
		}
	}
	if len(unsealed) > 1 {
		return nil, "", fmt.Errorf("two audit segments are open: %s and %s", unsealed[0].path, unsealed[1].path)
	}
	if n := len(a.sealed); n > 0 {
		_, last, err := scanSegment(a.sealed[n-1], nil)
		if err != nil {
			return nil, "", err
		}
		if last == nil || last.Sequence != a.sealed[n-1].last {
			return nil, "", fmt.Errorf("audit segment %s is damaged: move it away, and its entries are fetched from the other nodes", a.sealed[n-1].path)
		}
		a.head = auditHead{last.Sequence, last.Hash}
	}
	if len(unsealed) == 1 {
		if cut, err = a.reopen(unsealed[0]); err != nil {
			return nil, "", err
		}
	}
	return a, cut, nil
}

// reopen goes on with the open segment, after moving away what a crash left of
// unfinished writes: whatever follows the last entry that fits the chain.
func (a *auditLog) reopen(s segment) (cut string, err error) {
	if s.first <= a.head.sequence {
		return "", fmt.Errorf("audit segment %s repeats entries up to %d", s.path, a.head.sequence)
	}
	var prev []byte
	if s.first == a.head.sequence+1 {
		prev = a.head.hash
	}
	size, last, err := scanSegment(s, prev)
	if err != nil {
		return "", err
	}
	if cut, err = cutTail(s.path, size); err != nil {
		return "", err
	}
	if last == nil {
		return cut, os.Remove(s.path)
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return "", err
	}
	s.last = last.Sequence
	a.open = &openSegment{segment: s, file: f, w: bufio.NewWriterSize(f, 64<<10), size: size}
	a.head = auditHead{last.Sequence, last.Hash}
	return cut, nil
}

// append adds the next entry. One that is there already, because the log is
// replayed, is compared instead.
func (a *auditLog) append(e *command.AuditEntry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case e.Sequence <= a.head.sequence:
		return a.compare(e)
	case e.Sequence != a.head.sequence+1 || !bytes.Equal(e.PrevHash, a.head.hash):
		return fmt.Errorf("%w: entry %d doesn't follow entry %d", errAuditDiverged, e.Sequence, a.head.sequence)
	}
	if a.open == nil {
		path := filepath.Join(a.dir, openSegmentName(e.Sequence))
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		a.open = &openSegment{segment: segment{first: e.Sequence, path: path}, file: f, w: bufio.NewWriterSize(f, 64<<10)}
	}
	n, err := protodelim.MarshalTo(a.open.w, e)
	if err != nil {
		return err
	}
	a.open.size += int64(n)
	a.open.last = e.Sequence
	a.head = auditHead{e.Sequence, e.Hash}
	if a.open.size >= a.segmentSize {
		return a.seal()
	}
	return nil
}

// flush makes what was appended visible to readers.
func (a *auditLog) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		return nil
	}
	return a.open.w.Flush()
}

// sync makes what was appended durable. Appending goes on meanwhile.
func (a *auditLog) sync() error {
	a.mu.Lock()
	open := a.open
	if open == nil {
		a.mu.Unlock()
		return nil
	}
	err := open.w.Flush()
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if err := open.file.Sync(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err // closed means sealed in the meantime, which synced it
	}
	return syncDir(a.dir)
}

// seal ends the open segment. The caller holds mu.
func (a *auditLog) seal() error {
	o := a.open
	if o == nil {
		return nil
	}
	if err := errors.Join(o.w.Flush(), o.file.Sync(), o.file.Close()); err != nil {
		return err
	}
	s := segment{first: o.first, last: o.last}
	s.path = filepath.Join(a.dir, sealedSegmentName(s))
	if err := os.Rename(o.path, s.path); err != nil {
		return err
	}
	a.open = nil
	a.sealed = append(a.sealed, s)
	return syncDir(a.dir)
}

// restored moves the head of the chain to where a snapshot has it. What lies
// between is a gap; what this node has beyond will be compared when replayed.
func (a *auditLog) restored(h auditHead) error {
	if err := a.sync(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.replay != nil {
		a.replay.stop()
		a.replay = nil
	}
	if h.sequence > a.head.sequence {
		if err := a.seal(); err != nil {
			return err
		}
		a.head = h
		return nil
	}
	if h.sequence == 0 {
		return nil
	}
	for e, err := range a.entries(h.sequence, h.sequence) {
		if errors.Is(err, ErrAuditGap) {
			return nil
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(e.Hash, h.hash) {
			return fmt.Errorf("%w: entry %d differs from the snapshot", errAuditDiverged, h.sequence)
		}
	}
	return nil
}

// auditReplay reads along while the log is replayed.
type auditReplay struct {
	sequence uint64 // of the entry that next gives
	next     func() (*command.AuditEntry, error, bool)
	stop     func()
}

// compare checks a replayed entry against the one on disk. The caller holds mu.
func (a *auditLog) compare(e *command.AuditEntry) error {
	if a.replay == nil || a.replay.sequence != e.Sequence {
		if a.replay != nil {
			a.replay.stop()
		}
		r := &auditReplay{sequence: e.Sequence}
		r.next, r.stop = iter.Pull2(a.entries(e.Sequence, a.head.sequence))
		a.replay = r
	}
	old, err, ok := a.replay.next()
	a.replay.sequence++
	if !ok || err != nil || e.Sequence == a.head.sequence {
		a.replay.stop()
		a.replay = nil
	}
	switch {
	case errors.Is(err, ErrAuditGap) || !ok:
		return nil // nothing to compare with
	case err != nil:
		return err
	case !bytes.Equal(old.Hash, e.Hash):
		return fmt.Errorf("%w: entry %d", errAuditDiverged, e.Sequence)
	}
	return nil
}

// tail is the head of the chain.
func (a *auditLog) tail() auditHead {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head
}

func (a *auditLog) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.replay != nil {
		a.replay.stop()
		a.replay = nil
	}
	if a.open == nil {
		return nil
	}
	o := a.open
	a.open = nil
	return errors.Join(o.w.Flush(), o.file.Sync(), o.file.Close(), syncDir(a.dir))
}

// read calls fn with the entries first to last. Entries that are in a gap end it
// with ErrAuditGap.
func (a *auditLog) read(first, last uint64, fn func(*command.AuditEntry) error) error {
	// The last may be of a batch that is not written yet.
	if err := a.flush(); err != nil {
		return err
	}
	a.mu.Lock()
	entries := a.entries(first, last)
	a.mu.Unlock()
	for e, err := range entries {
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}
