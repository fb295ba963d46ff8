package state

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// listed is a change that puts a terminal on the list.
func listed(imsi string) *command.DeviceChange {
	return &command.DeviceChange{
		Idempotent: true,
		Change: &command.DeviceChange_Subscriber{Subscriber: &command.PutSubscriber{
			AnyVersion: true, Subscriber: &command.Subscriber{Imsi: imsi, Apns: []string{"a"}, State: command.DeviceState_ACTIVE},
		}},
	}
}

func TestDevicesAreAllCarriedOutOrNone(t *testing.T) {
	m := New()
	out := &command.DeviceChange{Change: &command.DeviceChange_CheckOut{CheckOut: &command.CheckOut{Barrel: "B-9", Imsi: "460010000000001"}}}
	p := &command.PutDevices{Changes: []*command.DeviceChange{listed("460010000000001"), out, listed("460010000000002")}}
	asked, before := proto.CloneOf(p), m.Digest()
	for name, do := range map[string]func(*command.PutDevices) outcome{"whole": m.putDevicesWhole, "try": m.tryDevices} {
		if o := do(p); o.code != command.Code_NOT_FOUND || o.message != "device 2 of 3: no such barrel" {
			t.Errorf("%s: %v %q", name, o.code, o.message)
		}
	}
	if put := m.TryDevices(p); len(put.GetOutcomes()) != 3 || put.Outcomes[0].Code != command.Code_OK || put.Outcomes[1].Code != command.Code_NOT_FOUND {
		t.Errorf("TryDevices: %v", put)
	}
	if m.Digest() != before {
		t.Error("what was refused as a whole changed the machine")
	}
	p.Changes[1], asked.Changes[1] = listed("460010000000003"), listed("460010000000003")
	if o := m.tryDevices(p); o.refused() || m.Digest() != before {
		t.Errorf("a trial: %v %q, or it changed the machine", o.code, o.message)
	}
	o := m.putDevicesWhole(p)
	if o.refused() || m.subscribers.len() != 3 || len(o.record.(*command.DevicesPut).Outcomes) != 3 {
		t.Errorf("%v %q, %d subscribers", o.code, o.message, m.subscribers.len())
	}
	if !proto.Equal(p, asked) {
		t.Error("the command was written to; a change that waits for approval keeps it")
	}
}

func TestDevicesAreBounded(t *testing.T) {
	p := new(command.PutDevices)
	for i := range MostDevices {
		p.Changes = append(p.Changes, listed(fmt.Sprintf("46001%010d", i)))
	}
	m := New()
	if o := m.putDevicesWhole(p); o.refused() || m.subscribers.len() != MostDevices {
		t.Fatalf("%d devices: %v %q", MostDevices, o.code, o.message)
	}
	p.Changes = append(p.Changes, listed("460020000000001"))
	for name, o := range map[string]outcome{"each": m.putDevices(p), "whole": m.putDevicesWhole(p)} {
		if o.code != command.Code_INVALID || !strings.Contains(o.message, "1001 changes of devices at once; at most 1000") {
			t.Errorf("%s: %v %q", name, o.code, o.message)
		}
	}
	if m.TryDevices(p) != nil {
		t.Error("a trial of too many has outcomes")
	}
}

// BenchmarkDevicesUnchanged is a re-import: 1,000 devices as they are, beside
// 100,000.
func BenchmarkDevicesUnchanged(b *testing.B) {
	m := New()
	for i := range 100_000 {
		m.putDevice(listed(fmt.Sprintf("46001%010d", i)))
	}
	p := new(command.PutDevices)
	for i := range MostDevices {
		p.Changes = append(p.Changes, listed(fmt.Sprintf("46001%010d", i*100)))
	}
	for b.Loop() {
		if o := m.putDevices(p); !o.record.(*command.DevicesPut).Outcomes[0].Unchanged {
			b.Fatal("changed")
		}
	}
}

// devices changes some of them at once, now and then as they are already.
func (w *world) devices() *command.PutDevices {
	p := new(command.PutDevices)
	for range 1 + w.choose(4) {
		c := &command.DeviceChange{Idempotent: w.choose(2) == 0}
		switch w.choose(6) {
		case 0, 1:
			c.Change = &command.DeviceChange_Subscriber{Subscriber: &command.PutSubscriber{Subscriber: w.subscriber()}}
		case 2:
			if s := w.log.m.Subscriber(w.imsi()); s != nil {
				c.Change = &command.DeviceChange_Subscriber{Subscriber: &command.PutSubscriber{Subscriber: proto.CloneOf(s)}}
			}
		case 3:
			b := &command.Barrel{Id: w.barrel(), State: command.DeviceState_ACTIVE, Mac: w.text()}
			c.Change = &command.DeviceChange_Barrel{Barrel: &command.PutBarrel{Barrel: b, AnyVersion: w.choose(2) == 0}}
		case 4:
			c.Change = &command.DeviceChange_CheckOut{CheckOut: &command.CheckOut{Barrel: w.barrel(), Imsi: w.imsi()}}
		case 5:
			c.Change = &command.DeviceChange_CheckIn{CheckIn: &command.CheckIn{Barrel: w.barrel()}}
		}
		p.Changes = append(p.Changes, c)
	}
	return p
}

// custody is a barrel that some terminal has, mostly.
func (w *world) custody() string {
	for range 3 {
		if b := w.barrel(); w.log.m.Barrel(b).GetCheckedOutTo() != "" {
			return b
		}
	}
	return w.barrel()
}
