package gtptest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Frame is one UDP datagram for the dissector.
type Frame struct {
	Port    uint16 // destination: 2123 or 2152
	Payload []byte
}

// Dissect has tshark read the frames and fails the test for every one that it
// calls malformed, that it has an expert's word of warning about, or that it
// doesn't take for GTP. Where tshark is not installed the test is skipped; on a
// CI machine, which must have it, that is a failure.
func Dissect(t *testing.T, frames []Frame) {
	t.Helper()
	for _, c := range complaints(t, frames) {
		t.Error(c)
	}
}

func complaints(t *testing.T, frames []Frame) []string {
	t.Helper()
	demand(t)
	all, err := judge(t.TempDir(), frames)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// demand ends a test without a dissector: as passed over, or on a CI machine as
// failed.
func demand(t *testing.T) {
	t.Helper()
	if err := installed(); errors.Is(err, errLacking) {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
}

// errLacking: this machine has to have the dissector, and has not.
var errLacking = errors.New("tshark is not installed on this CI machine; .ci/run must install it")

// installed is nil when there is a dissector.
func installed() error {
	_, err := exec.LookPath("tshark")
	switch {
	case err == nil:
		return nil
	case os.Getenv("CI") == "true":
		return errLacking
	}
	return errors.New("tshark is not installed: nothing to judge the messages with (install the package tshark)")
}

// judge has tshark read the frames, by way of a file in dir, and lists its
// complaints.
func judge(dir string, frames []Frame, options ...string) ([]string, error) {
	file := filepath.Join(dir, "frames.pcap")
	if err := os.WriteFile(file, pcap(frames), 0o600); err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd := exec.Command("tshark", append(options, "-r", file, "-n", "-T", "fields", "-E", "separator=|",
		"-e", "frame.number", "-e", "frame.protocols", "-e", "_ws.malformed", "-e", "_ws.expert.message", "-e", "_ws.expert.severity")...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("tshark: %w\n%s", err, stderr.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(frames) {
		return nil, fmt.Errorf("tshark read %d frames of %d:\n%s", len(lines), len(frames), out)
	}
	var all []string
	for i, line := range lines {
		fields := strings.Split(line, "|")
		if len(fields) != 5 || !strings.Contains(fields[1], "gtp") || fields[2] != "" || worries(fields[4]) {
			all = append(all, fmt.Sprintf("frame %d: tshark says %q of % x", i+1, line, frames[i].Payload))
		}
	}
	return all, nil
}

// worries tells whether one of the severities, separated by commas, is a warning
// or an error. A note is no fault: the dissector makes one for every bit rate that
// says "see the other octet".
func worries(severities string) bool {
	const warning = 0x00600000 // PI_WARN of Wireshark's expert information
	for s := range strings.SplitSeq(severities, ",") {
		if n, err := strconv.ParseUint(s, 0, 32); s != "" && (err != nil || n >= warning) {
			return true
		}
	}
	return false
}

// pcap writes a capture of raw IPv4 packets (link type 228).
func pcap(frames []Frame) []byte {
	le := binary.LittleEndian
	out := le.AppendUint32(nil, 0xa1b2c3d4)
	out = le.AppendUint16(out, 2)
	out = le.AppendUint16(out, 4)
	out = append(out, make([]byte, 8)...)
	out = le.AppendUint32(out, 65535)
	out = le.AppendUint32(out, 228)
	for i, f := range frames {
		p := packet(f)
		out = le.AppendUint32(out, uint32(i)) // seconds
		out = le.AppendUint32(out, 0)
		out = le.AppendUint32(out, uint32(len(p)))
		out = le.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

func packet(f Frame) []byte {
	be := binary.BigEndian
	p := make([]byte, 28, 28+len(f.Payload))
	p[0], p[8], p[9] = 0x45, 64, 17
	be.PutUint16(p[2:], uint16(28+len(f.Payload)))
	copy(p[12:], []byte{127, 0, 10, 1, 127, 0, 20, 1})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(be.Uint16(p[i:]))
	}
	be.PutUint16(p[10:], ^uint16(sum+sum>>16))
	be.PutUint16(p[20:], f.Port)
	be.PutUint16(p[22:], f.Port)
	be.PutUint16(p[24:], uint16(8+len(f.Payload)))
	return append(p, f.Payload...)
}
