package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// lacking ends a test for want of something on this machine. A CI machine has
// to have it.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// dissect has tshark read a capture and fails the test for every complaint. It
// returns how many frames of the gateway there are.
func dissect(t *testing.T, capture string, gateway netip.Addr) int {
	t.Helper()
	frames, bad := complaints(t, capture, gateway)
	for _, c := range bad {
		t.Error("tshark: " + c)
	}
	return frames
}

// complaints lists the frames of the gateway that tshark calls malformed, has
// more than a note about, or doesn't take for GTP.
func complaints(t *testing.T, capture string, gateway netip.Addr) (frames int, bad []string) {
	t.Helper()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		lacking(t, "tshark is not installed: nothing to judge the frames with (install the package tshark)")
	}
	var words bytes.Buffer
	cmd := exec.Command(tshark, "-r", capture, "-n", "-Y", "ip.src == "+gateway.String(), "-T", "fields", "-E", "separator=|",
		"-e", "frame.number", "-e", "frame.protocols", "-e", "_ws.malformed", "-e", "_ws.expert.severity", "-e", "_ws.expert.message")
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, words.Bytes())
	}
	for line := range strings.Lines(string(out)) {
		frames++
		f := strings.SplitN(strings.TrimSpace(line), "|", 5)
		if len(f) != 5 || !strings.Contains(f[1], "gtp") || f[2] != "" || strings.Contains(f[3], severityError) || strings.Contains(f[3], severityWarning) {
			bad = append(bad, line)
		}
	}
	return frames, bad
}

// Severities as tshark prints them (epan/proto.h, PI_WARN and PI_ERROR).
const (
	severityWarning = "6291456"
	severityError   = "8388608"
)

// capture is all that a tap has heard and sent, in a file.
func (p *tap) capture() string {
	p.t.Helper()
	return writeCapture(p.t, p.all(func(frame) bool { return true }))
}

// writeCapture writes frames as a capture of raw IPv4 packets.
func writeCapture(t *testing.T, frames []frame) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "frames.pcap")
	if err := os.WriteFile(file, pcap(frames), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func pcap(frames []frame) []byte {
	const rawIPv4 = 228 // link type
	le := binary.LittleEndian
	out := le.AppendUint32(nil, 0xa1b2c3d4)
	out = le.AppendUint16(out, 2)
	out = le.AppendUint16(out, 4)
	out = append(out, make([]byte, 8)...)
	out = le.AppendUint32(out, 65535)
	out = le.AppendUint32(out, rawIPv4)
	for _, f := range frames {
		ip := packet(f.from, f.to, f.payload)
		out = le.AppendUint32(out, uint32(f.at.Unix()))
		out = le.AppendUint32(out, uint32(f.at.Nanosecond()/1000))
		out = le.AppendUint32(out, uint32(len(ip)))
		out = le.AppendUint32(out, uint32(len(ip)))
		out = append(out, ip...)
	}
	return out
}

// packet is an IPv4 packet with a UDP datagram (RFC 791, RFC 768).
func packet(from, to netip.AddrPort, payload []byte) []byte {
	be := binary.BigEndian
	p := []byte{0x45, 0}
	p = be.AppendUint16(p, uint16(28+len(payload)))
	p = append(p, 0, 0, 0, 0, 64, 17, 0, 0)
	p = append(p, from.Addr().AsSlice()...)
	p = append(p, to.Addr().AsSlice()...)
	be.PutUint16(p[10:], checksum(p))
	p = be.AppendUint16(p, from.Port())
	p = be.AppendUint16(p, to.Port())
	p = be.AppendUint16(p, uint16(8+len(payload)))
	p = append(p, 0, 0) // no checksum
	return append(p, payload...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// A dissector that is not ours reads everything that the gateway says to a
// carrier in a subscriber's life, refusals and oddities included.
func TestDissector(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	c, tap := s.carrier(1)
	sim := s.enlist(1)
	p := s.attach(c, sim)
	if _, err := p.App().Status(s.soon()); err != nil { // TCP inside
		t.Fatal(err)
	}
	for _, move := range []carrier.Move{{}, {TAC: 7, Cell: 9}, {RAT: carrier.NR}, {NewTunnel: true}} {
		if err := p.Bearer().ModifyBearer(s.soon(), move); err != nil {
			t.Fatalf("%+v: %v", move, err)
		}
		s.ping(p)
	}
	if _, err := c.Echo(s.soon()); err != nil {
		t.Fatal(err)
	}

	// Everybody who is refused hears why.
	other, apn, foreign, unseen := sim, sim, s.sim(2), sim
	other.IMEI = must(ident.ParseIMEI(handset(3)))
	apn.APN = must(ident.ParseAPN("other.corp"))
	unseen.IMEI = ident.IMEI{}
	for _, r := range []struct {
		who   carrier.Subscriber
		cause uint8 // TS 29.274 table 8.4-1
	}{{other, 93}, {apn, 78}, {foreign, 93}, {unseen, 93}} {
		_, err := c.Attach(s.soon(), r.who)
		var refused *carrier.RefusedError
		if !errors.As(err, &refused) || refused.Cause != r.cause {
			t.Errorf("%+v: %v, want cause %d", r.who, err, r.cause)
		}
	}

	gtpc, gtpu := netip.AddrPortFrom(s.gateway, carrier.ControlPort), netip.AddrPortFrom(s.gateway, carrier.UserPort)
	fromC, fromU := netip.AddrPortFrom(s.ip(20, 1), carrier.ControlPort), netip.AddrPortFrom(s.ip(20, 1), carrier.UserPort)
	for _, o := range []struct {
		what     string
		from, to netip.AddrPort
		send     []byte
		want     byte // message type of the answer
	}{
		{"the repeated attach", fromC, gtpc, tap.one("an attach", func(f frame) bool { return f.is(carrier.ControlPort, createSessionRequest) }).payload, createSessionResponse},
		{"an Echo Request of GTPv1", fromC, gtpc, []byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0}, 2},
		{"a version to come", fromC, gtpc, []byte{0x60, 32, 0, 4, 0, 0, 1, 0}, 3},
		{"a Modify Bearer Request for no session", fromC, gtpc, []byte{0x48, 34, 0, 8, 0, 1, 2, 3, 0, 0, 9, 0}, 35},
		{"a Delete Session Request for no session", fromC, gtpc, []byte{0x48, 36, 0, 8, 0, 1, 2, 3, 0, 0, 10, 0}, 37},
		{"a Create Session Request with nothing in it", fromC, gtpc, []byte{0x48, 32, 0, 8, 0, 0, 0, 0, 0, 0, 11, 0}, createSessionResponse},
		{"a Modify Bearer Command for no session", fromC, gtpc, []byte{0x48, 64, 0, 8, 0, 1, 2, 3, 0, 0, 12, 0}, 65},
		{"a Suspend Notification for no session", fromC, gtpc, []byte{0x48, 162, 0, 8, 0, 1, 2, 3, 0, 0, 13, 0}, 163},
		{"a GTP-U Echo Request", fromU, gtpu, []byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0}, 2},
		{"a packet for no tunnel", fromU, gtpu, append([]byte{0x30, 255, 0, 20, 0, 1, 2, 3}, packet(fromU, gtpu, nil)[:20]...), errorIndication},
	} {
		answers := func() int {
			return len(tap.all(func(f frame) bool { return f.heard && f.is(o.to.Port(), o.want) }))
		}
		before := answers()
		tap.send(o.from, o.to, o.send)
		s.until("an answer to "+o.what, func() bool { return answers() > before })
	}
	if err := p.Detach(s.soon()); err != nil {
		t.Fatal(err)
	}
	if frames := dissect(t, tap.capture(), s.gateway); frames < 20 {
		t.Errorf("only %d frames of the gateway were dissected", frames)
	} else {
		t.Logf("%d frames of the gateway dissected", frames)
	}
}

// The judge must be able to find fault.
func TestDissectorComplains(t *testing.T) {
	t.Parallel()
	pgw, sgw := netip.MustParseAddrPort("127.0.10.1:2123"), netip.MustParseAddrPort("127.0.20.1:2123")
	for what, payload := range map[string][]byte{
		"an element past the end": {0x48, 33, 0, 14, 0, 0, 0, 1, 0, 0, 1, 0, 2, 0, 9, 0, 16, 0},
		"a cause cut short":       {0x48, 33, 0, 13, 0, 0, 0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 16},
		"no GTP":                  {0xff},
	} {
		frames, bad := complaints(t, writeCapture(t, []frame{{from: pgw, to: sgw, payload: payload}, {from: sgw, to: pgw, payload: payload}}), pgw.Addr())
		if frames != 1 || len(bad) != 1 {
			t.Errorf("%s: %d complaints about %d frames, want one about the gateway's only", what, len(bad), frames)
		}
	}
}
