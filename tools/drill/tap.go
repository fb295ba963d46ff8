package drill

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// Notice counts what a carrier must not hear when a gateway fails over.
type Notice struct {
	// Deletes are requests of the gateway that end a session: Delete Bearer
	// Request, Delete PDP Context Request (repetitions too).
	Deletes int `json:"deletes"`
	// ErrorIndications say that the gateway doesn't know a tunnel.
	ErrorIndications int `json:"error_indications"`
	// RestartChanges counts changes of the gateway's restart counter, as told in
	// any message of GTP-C.
	RestartChanges int `json:"restart_changes"`
}

// Any tells whether there was anything to notice.
func (n Notice) Any() bool { return n != Notice{} }

// minus is what came since an earlier moment.
func (n Notice) minus(o Notice) Notice {
	return Notice{n.Deletes - o.Deletes, n.ErrorIndications - o.ErrorIndications, n.RestartChanges - o.RestartChanges}
}

// Message types and information elements (TS 29.060 tables 1 and 5, TS 29.274
// tables 6.1-1 and 8.1-1, TS 29.281 table 6-1).
const (
	deletePDPContext = 20
	deleteBearer     = 99
	errorIndication  = 26
	recoveryV1       = 14
	recoveryV2       = 3
)

// tap listens to what comes in at a carrier's sockets. It reads the octets
// itself: what the simulated node makes of them is another matter.
type tap struct {
	mu       sync.Mutex
	notice   Notice // guarded by mu
	restarts int    // the gateway's counter as told last, -1 at first; guarded by mu
}

func newTap() *tap { return &tap{restarts: -1} }

// listen is the seam of carrier.Config.
func (t *tap) listen(at netip.AddrPort) (carrier.Conn, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(4 << 20) // the kernel caps what it won't give
	return &tapped{conn, t, at.Port() == carrier.ControlPort}, nil
}

func (t *tap) noticed() Notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.notice
}

func (t *tap) heard(b []byte, control bool) {
	if len(b) < 8 {
		return
	}
	version, kind := b[0]>>5, b[1]
	if !control && kind != errorIndication {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !control:
		t.notice.ErrorIndications++
		return
	case version == 1 && kind == deletePDPContext, version == 2 && kind == deleteBearer:
		t.notice.Deletes++
	}
	if n := restartCounter(b); n >= 0 {
		if t.restarts >= 0 && t.restarts != n {
			t.notice.RestartChanges++
		}
		t.restarts = n
	}
}

// restartCounter reads the Recovery of a message of GTP-C, -1 if it has none.
func restartCounter(b []byte) int {
	if b[0]>>5 == 1 {
		return recoveryOfV1(b)
	}
	header := 8
	if b[0]&0x08 != 0 { // with a TEID
		header = 12
	}
	if len(b) < header {
		return -1
	}
	for rest := b[header:]; len(rest) >= 5; {
		size := 4 + int(binary.BigEndian.Uint16(rest[1:]))
		if rest[0] == recoveryV2 && rest[3]&0x0f == 0 && size >= 5 {
			return int(rest[4])
		}
		if size > len(rest) {
			return -1
		}
		rest = rest[size:]
	}
	return -1
}

// recoveryOfV1 reads elements of fixed length in order, as far as Recovery can
// come after them in messages of a GGSN (TS 29.060 7.7).
func recoveryOfV1(b []byte) int {
	fixed := map[byte]int{1: 1, 8: 1, 14: 1, 16: 4, 17: 4, 20: 1, 127: 4}
	if len(b) < 12 {
		return -1
	}
	for rest := b[12:]; len(rest) >= 2; {
		size, known := fixed[rest[0]]
		if !known || len(rest) < 1+size {
			return -1
		}
		if rest[0] == recoveryV1 {
			return int(rest[1])
		}
		rest = rest[1+size:]
	}
	return -1
}

// tapped is a socket of the carrier.
type tapped struct {
	*net.UDPConn
	tap     *tap
	control bool
}

func (c *tapped) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := c.UDPConn.ReadFromUDPAddrPort(b)
	if err == nil {
		c.tap.heard(b[:n], c.control)
	}
	return n, from, err
}
