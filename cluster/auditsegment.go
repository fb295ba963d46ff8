package cluster

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// segment is one file of the audit chain.
type segment struct {
	first, last uint64
	path        string
}

func (s segment) compare(o segment) int {
	switch {
	case s.first < o.first:
		return -1
	case s.first > o.first:
		return 1
	}
	return 0
}

// openSegment is the file that is appended to.
type openSegment struct {
	segment
	file *os.File
	w    *bufio.Writer
	size int64 // with what is in w
}

const (
	segmentOther = iota
	segmentSealed
	segmentOpen
	segmentPart
)

func openSegmentName(first uint64) string { return fmt.Sprintf("%020d.open", first) }

func sealedSegmentName(s segment) string {
	return fmt.Sprintf("%020d-%020d.audit", s.first, s.last)
}

func parseSegmentName(path string) (s segment, kind int) {
	s.path = path
	name := filepath.Base(path)
	switch filepath.Ext(name) {
	case ".part":
		return s, segmentPart
	case ".open":
		if _, err := fmt.Sscanf(name, "%d.open", &s.first); err == nil && name == openSegmentName(s.first) {
			return s, segmentOpen
		}
	case ".audit":
		if _, err := fmt.Sscanf(name, "%d-%d.audit", &s.first, &s.last); err == nil && name == sealedSegmentName(s) {
			return s, segmentSealed
		}
	}
	return s, segmentOther
}

// maxAuditEntry bounds one record: the command, its result and the hashes.
const maxAuditEntry = 4*MaxCommandSize + 1024

var delimited = protodelim.UnmarshalOptions{MaxSize: maxAuditEntry}

// scanSegment reads a segment up to the first record that is torn or doesn't fit
// the chain, and returns the size of what is good and the last good entry. prev
// is the hash before its first entry; nil if that isn't known.
func scanSegment(s segment, prev []byte) (size int64, last *command.AuditEntry, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	counted := &countingReader{r: bufio.NewReaderSize(f, 256<<10)}
	for next := s.first; ; next++ {
		e := new(command.AuditEntry)
		if err := delimited.UnmarshalFrom(counted, e); err != nil {
			// A read that fails is no torn tail: nothing must be cut off for it.
			if pe := (*os.PathError)(nil); errors.As(err, &pe) {
				return 0, nil, err
			}
			return size, last, nil
		}
		if prev == nil {
			prev = e.PrevHash
		}
		if follows(e, next, prev) != nil {
			return size, last, nil
		}
		size, last, prev = counted.n, e, e.Hash
	}
}

// cutTail shortens a file to size and keeps what it cut off, for people to look
// at, in the file named.
func cutTail(path string, size int64) (cut string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		return "", err
	}
	tail, err := io.ReadAll(f)
	if err != nil || len(tail) == 0 {
		return "", err
	}
	cut = path + ".cut"
	if err := os.WriteFile(cut, tail, 0o600); err != nil {
		return "", err
	}
	return cut, f.Truncate(size)
}

// countingReader counts what was consumed.
type countingReader struct {
	r *bufio.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// follows checks that e is entry sequence of the chain whose hash so far is prev.
func follows(e *command.AuditEntry, sequence uint64, prev []byte) error {
	switch {
	case e.Sequence != sequence:
		return fmt.Errorf("audit entry %d stands where %d belongs", e.Sequence, sequence)
	case len(prev) != 32 || !bytes.Equal(e.PrevHash, prev):
		return fmt.Errorf("audit entry %d doesn't follow the one before it", sequence)
	}
	if h := state.AuditHash([32]byte(prev), e.Index, e.Term, e.Command, e.Result); !bytes.Equal(e.Hash, h[:]) {
		return fmt.Errorf("audit entry %d was changed: its hash is wrong", sequence)
	}
	return nil
}

// entries iterates over the entries first to last as they are on disk now. The
// caller holds mu while calling it, but not while iterating. The iterator must be
// used, and can be used once.
func (a *auditLog) entries(first, last uint64) iter.Seq2[*command.AuditEntry, error] {
	segments := slices.Clone(a.sealed)
	// The open segment may be renamed before the iterator comes to it.
	var file *os.File
	var openErr error
	if a.open != nil && a.open.last >= first {
		segments = append(segments, a.open.segment)
		file, openErr = os.Open(a.open.path)
	}
	return func(yield func(*command.AuditEntry, error) bool) {
		if file != nil {
			defer file.Close()
		}
		if openErr != nil {
			yield(nil, openErr)
			return
		}
		next := first
		for i, s := range segments {
			if next > last || s.first > next {
				break
			}
			if s.last < next {
				continue
			}
			f := file
			if file == nil || i < len(segments)-1 {
				f = nil
			}
			for e, err := range s.entries(f, next, min(last, s.last)) {
				if !yield(e, err) || err != nil {
					return
				}
				next++
			}
		}
		if next <= last {
			yield(nil, fmt.Errorf("%w: entry %d", ErrAuditGap, next))
		}
	}
}

// entries iterates over the entries first to last, all of which are in s. It
// opens the file unless it is given.
func (s segment) entries(f *os.File, first, last uint64) iter.Seq2[*command.AuditEntry, error] {
	return func(yield func(*command.AuditEntry, error) bool) {
		if f == nil {
			var err error
			if f, err = os.Open(s.path); err != nil {
				yield(nil, err)
				return
			}
			defer f.Close()
		}
		r := bufio.NewReaderSize(f, 64<<10)
		for at := s.first; at <= last; at++ {
			if at < first {
				n, err := binary.ReadUvarint(r)
				if err == nil {
					_, err = r.Discard(int(min(n, maxAuditEntry)))
				}
				if err != nil {
					yield(nil, fmt.Errorf("%s: skip entry %d: %w", s.path, at, err))
					return
				}
				continue
			}
			e := new(command.AuditEntry)
			if err := delimited.UnmarshalFrom(r, e); err != nil {
				yield(nil, fmt.Errorf("%s: entry %d: %w", s.path, at, err))
				return
			}
			if e.Sequence != at {
				yield(nil, fmt.Errorf("%s: entry %d stands where %d belongs", s.path, e.Sequence, at))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// syncDir makes created and renamed files durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
