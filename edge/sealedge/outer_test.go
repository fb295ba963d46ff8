package main

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/apn/gtpu"
)

// A socket that is served no more is reported: holding the address without
// serving it keeps every other node from doing so.
func TestSocketFailureIsReported(t *testing.T) {
	control := gtpc.New(gtpc.Config{RestartCounter: func() uint8 { return 1 }}, nil)
	// The easiest way to have Serve fail: it serves another socket already.
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 99, 2)})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	go func() { close(started); control.Serve(t.Context(), other) }()
	<-started
	for control.Counters()["received"] == 0 { // it serves when it has received
		c, err := net.Dial("udp4", other.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte{0})
		c.Close()
	}
	failed := make(chan error, 2)
	o := &outer{
		address: netip.MustParseAddr("127.0.99.1"), control: control, plane: gtpu.New(gtpu.Config{Uplink: func([]byte) {}}),
		ready: func() {}, failed: func(err error) { failed <- err }, log: slog.New(slog.DiscardHandler),
	}
	if err := o.up(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Error("failed without an error")
	}
	o.down()
	// Going down is no failure, and the address can be taken again.
	if err := o.up(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	<-failed
	o.down()
	if len(failed) != 0 {
		t.Errorf("the user plane failed: %v", <-failed)
	}
}
