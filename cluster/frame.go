package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// frame is one message of the node protocol: be32 length of what follows, a byte
// for its kind, be64 id of the request, and the body. Answers carry the id of
// their request and may overtake each other.
type frame struct {
	kind frameKind
	id   uint64
	body []byte
}

type frameKind byte

const (
	framePropose frameKind = 1 // be32 milliseconds allowed, envelope of the command
	frameBarrier frameKind = 2 // be32 milliseconds allowed; its top bit (readIndex): no entry in the log is needed
	frameAudit   frameKind = 3 // be64 first, be64 last sequence number
	frameGreet   frameKind = 4 // greeting of who asks, JSON; empty in builds from before: who are you?
	frameJoin    frameKind = 5 // id of the node that asks to become a member; answered by frameEnd
	frameRenew   frameKind = 6 // renewalRequest; answered as a barrier is
	frameTraced  frameKind = 7 // framePropose, with the ids of a trace and a span after the time; only for whom says it takes it

	frameDone     frameKind = 16 // be64 log index, Result (empty for a barrier)
	frameRefused  frameKind = 17 // verdict byte, reason
	frameEntry    frameKind = 18 // AuditEntry
	frameEnd      frameKind = 19 // reason why no more entries come; empty: that was all
	frameGreeting frameKind = 20 // greeting, JSON
)

// readIndex is the bit by which a barrier's asker says that a read index will do. A
// node from before there were any takes it for a long time, and asks its log.
const readIndex = 1 << 31

const (
	frameHeader = 1 + 8
	maxFrame    = frameHeader + 8 + maxAuditEntry
)

var errFrame = errors.New("malformed frame from a node")

func readFrame(r io.Reader) (frame, error) {
	var h [4 + frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(h[:])
	if n < frameHeader || n > maxFrame {
		return frame{}, fmt.Errorf("%w: length %d", errFrame, n)
	}
	f := frame{kind: frameKind(h[4]), id: binary.BigEndian.Uint64(h[5:]), body: make([]byte, n-frameHeader)}
	if _, err := io.ReadFull(r, f.body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	return f, nil
}

func (f frame) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(frameHeader+len(f.body)))
	b = append(b, byte(f.kind))
	b = binary.BigEndian.AppendUint64(b, f.id)
	return append(b, f.body...)
}

// frameConn writes frames from many goroutines to one connection.
type frameConn struct {
	conn net.Conn
	out  chan frame
	dead chan struct{} // closed when the connection is of no more use
	once sync.Once
}

func newFrameConn(conn net.Conn) *frameConn {
	return &frameConn{conn: conn, out: make(chan frame, 256), dead: make(chan struct{})}
}

func (c *frameConn) kill() {
	c.once.Do(func() {
		close(c.dead)
		c.conn.Close()
	})
}

// send queues a frame; false if the connection died first.
func (c *frameConn) send(f frame) bool {
	select {
	case c.out <- f:
		return true
	case <-c.dead:
		return false
	}
}

// write puts queued frames on the wire until the connection dies. Frames that
// are waiting together leave together.
func (c *frameConn) write() {
	defer c.kill()
	w := bufio.NewWriterSize(c.conn, 64<<10)
	var buf []byte
	put := func(f frame) error {
		buf = f.append(buf[:0])
		_, err := w.Write(buf)
		return err
	}
	for {
		select {
		case f := <-c.out:
			if c.conn.SetWriteDeadline(time.Now().Add(raftIO)) != nil || put(f) != nil {
				return
			}
		case <-c.dead:
			return
		}
		for more := true; more; {
			select {
			case f := <-c.out:
				if put(f) != nil {
					return
				}
			default:
				more = false
			}
		}
		if w.Flush() != nil {
			return
		}
	}
}
