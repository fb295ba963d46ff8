package gtptest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
)

// Ports that messages are dissected by.
const (
	ControlPort uint16 = 2123
	UserPort    uint16 = 2152
)

// maxSent bounds what Sent keeps: more than all that the tests of a package send
// today.
const maxSent = 20_000

// collection is what tests had the gateway send.
type collection struct {
	mu     sync.Mutex
	known  map[string]bool // port and shape
	frames []Frame
	over   int // that came when there were maxSent
}

// sent is that of this process.
var sent collection

// Sent has a message of ours judged by Main when the package's tests are done.
// The benches that tests share call it for everything that they get from the
// gateway, so that no test has to think of it. Messages that are equal to the
// bit, and G-PDUs whose headers are but for TEID and sequence number, are judged
// once.
func Sent(port uint16, message []byte) { sent.add(port, message) }

func (c *collection) add(port uint16, message []byte) {
	key := string([]byte{byte(port >> 8), byte(port)}) + string(shape(port, message))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.known[key]:
		return
	case len(c.frames) == maxSent:
		c.over++
		return
	case c.known == nil:
		c.known = map[string]bool{}
	}
	c.known[key] = true
	c.frames = append(c.frames, Frame{port, bytes.Clone(message)})
}

// shape is what a message is told from others by: all of it, and of a G-PDU, of
// which tests send tens of thousands, the header without TEID and sequence
// number, and how long it is.
func shape(port uint16, message []byte) []byte {
	const gpdu, teid, sequence, optional = 255, 4, 8, 12
	if port != UserPort || len(message) < sequence || message[1] != gpdu {
		return message
	}
	s := binary.BigEndian.AppendUint16(bytes.Clone(message[:teid]), uint16(len(message)))
	if message[0]&0x07 != 0 && len(message) >= optional {
		s = append(s, message[sequence+2:optional]...)
	}
	return s
}

// Main is a package's TestMain: it runs the tests, then has tshark read
// everything that Sent was told of, and returns the status to exit with. That is
// 1 when anything is malformed or has an expert's word of warning, and when there
// was more than can be kept. What is inside G-PDUs is the terminals' and not
// judged. Without tshark nothing is judged, except on a CI machine, which must
// have it.
func Main(m *testing.M) int {
	status := m.Run()
	if status != 0 || len(sent.frames) == 0 || fuzzing() {
		return status
	}
	if err := sent.judge(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// fuzzing tells whether the process looks for inputs, and many run at once.
func fuzzing() bool {
	f := flag.Lookup("test.fuzz")
	return f != nil && f.Value.String() != ""
}

func (c *collection) judge() error {
	if c.over > 0 {
		return fmt.Errorf("%d messages more were sent than the %d that are kept for the dissector: raise maxSent in apn/gtp/gtptest", c.over, maxSent)
	}
	if err := installed(); err != nil {
		if errors.Is(err, errLacking) {
			return err
		}
		fmt.Fprintln(os.Stderr, err)
		return nil
	}
	dir, err := os.MkdirTemp("", "gtptest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	complaints, err := judge(dir, c.frames, "-o", "gtp.dissect_tpdu_as:None")
	if err != nil {
		return err
	}
	const shown = 10
	for _, complaint := range complaints[:min(len(complaints), shown)] {
		fmt.Fprintln(os.Stderr, complaint)
	}
	if n := len(complaints); n > 0 {
		return fmt.Errorf("FAIL: tshark finds fault with %d of the %d messages that the tests had the gateway send", n, len(c.frames))
	}
	return nil
}
