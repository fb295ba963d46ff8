package wireguard

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

const newSeed = 10 // of the key that replaces gatewaySeed's

// works tells whether packets go both ways with a phone at this moment.
func (r *rig) works(t *testing.T, p *phone, addr netip.Addr) bool {
	t.Helper()
	p.take()
	r.uplinked()
	up, down := ip(addr, gateway, 80, 7), ip(gateway, addr, 80, 8)
	p.send(up)
	came := same(r.uplinked(), up)
	_ = r.Send(down)
	got := p.take() // also what waited for a session
	return came && len(got) > 0 && bytes.Equal(got[len(got)-1], down)
}

// A key is replaced with an overlap: live sessions go on, handshakes succeed with
// either key, and afterwards with the new one only.
func TestRotation(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true), peerOf(t, 2, phoneB, true))
		a := r.phone(t, 1, 0)
		if !r.works(t, a, phoneA) {
			t.Fatal("no path to begin with")
		}
		handshakes := r.Counters()["responses-sent"]

		setKeys(t, r.Endpoint, newSeed, gatewaySeed)
		if !r.works(t, a, phoneA) || r.Counters()["responses-sent"] != handshakes {
			t.Error("the new key disturbed a live session")
		}
		b := r.phoneOf(t, 2, newSeed, 0)
		if !r.works(t, b, phoneB) {
			t.Error("no handshake with the new key")
		}
		time.Sleep(5 * time.Minute) // the sessions are over
		a.send(ip(phoneA, gateway, 60, 1))
		if !r.works(t, a, phoneA) {
			t.Error("no further handshake with the old key")
		}
		b.send(ip(phoneB, gateway, 60, 1))
		if !r.works(t, b, phoneB) {
			t.Error("no further handshake with the new key")
		}
		if n := r.Counters()["not-for-this-key"]; n != 0 {
			t.Errorf("%d handshakes counted as nobody's", n)
		}

		// B goes back to the old key, and on again: what is sent to it follows.
		b.close()
		b = r.phoneOf(t, 2, gatewaySeed, 0)
		if !r.works(t, b, phoneB) {
			t.Error("a phone that changed its key isn't reached")
		}
		time.Sleep(time.Second) // a gateway takes no two handshakes of one instant
		b.close()
		b = r.phoneOf(t, 2, newSeed, 0)
		if !r.works(t, b, phoneB) {
			t.Error("a phone that changed its key back isn't reached")
		}

		handshakes = r.Counters()["responses-sent"]
		setKeys(t, r.Endpoint, newSeed)
		if r.works(t, a, phoneA) {
			t.Error("a session of the key that went still works")
		}
		if !r.works(t, b, phoneB) || r.Counters()["responses-sent"] != handshakes {
			t.Error("a session of the key that stays was disturbed")
		}
		answers := r.ether.tapped(func(from, to netip.AddrPort, _ []byte) bool { return from == gatewayAt && to == placeOf(1) })
		time.Sleep(time.Minute)
		if got := answers(); len(got) != 0 || r.Counters()["not-for-this-key"] == 0 {
			t.Errorf("a handshake with the key that went was answered: %x", got)
		}
	})
}

// Until a peer has shown which key it has, what is sent to it goes by both.
func TestDownlinkBeforeData(t *testing.T) {
	for name, has := range map[string]byte{"the old key": gatewaySeed, "the new key": newSeed} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, r *rig) {
				setKeys(t, r.Endpoint, newSeed, gatewaySeed)
				setPeers(t, r, peerOf(t, 1, phoneA, true))
				a := r.phoneOf(t, 1, has, 25) // shakes hands and sends keepalives
				synctest.Wait()
				down := ip(gateway, phoneA, 100, 1)
				if err := r.Send(down); err != nil {
					t.Fatal(err)
				}
				if got := a.take(); !same(got, down) {
					t.Errorf("got %x", got)
				}
				if n := r.Counters()["downlink-packets"]; n != 1 {
					t.Errorf("counted %d packets, want 1", n)
				}
			})
		})
	}
}

// An endpoint without keys listens and answers nobody; a key makes it work without
// listening again, and calls back.
func TestKeyWhileListening(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		second := peerOf(t, 2, phoneB, true)
		second.Endpoint = placeOf(2)
		setPeers(t, r, peerOf(t, 1, phoneA, true), second)
		setKeys(t, r.Endpoint)
		b := r.phone(t, 2, 0)
		a := r.phone(t, 1, 0)
		if r.works(t, a, phoneA) {
			t.Error("works without a key")
		}
		if err := r.Send(ip(gateway, phoneA, 60, 1)); err != ErrNoKey {
			t.Errorf("Send: %v", err)
		}
		setKeys(t, r.Endpoint, gatewaySeed)
		if !r.works(t, b, phoneB) || r.Counters()["responses-sent"] != 0 {
			t.Error("a peer whose place is known wasn't called back")
		}
		time.Sleep(10 * time.Second) // the phone tries again
		a.send(ip(phoneA, gateway, 60, 1))
		if !r.works(t, a, phoneA) {
			t.Error("doesn't work with a key")
		}
	})
}

func TestSetKeysRefuses(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		setPeers(t, r, peerOf(t, 1, phoneA, true))
		a := r.phone(t, 1, 0)
		one, _ := key(t, gatewaySeed)
		two, _ := key(t, newSeed)
		three, _ := key(t, newSeed+1)
		twin := one
		twin[0] |= 7 // bits that Curve25519 passes over
		for want, keys := range map[string][][32]byte{
			"at most 2": {one, two, three},
			"all zero":  {two, {}},
			"the same":  {one, twin},
		} {
			err := r.SetKeys(keys...)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: error %v", want, err)
			}
			for _, k := range keys {
				if err != nil && strings.Contains(err.Error(), fmt.Sprintf("%x", k[:2])) {
					t.Errorf("error %q has a part of the key", err)
				}
			}
		}
		if !r.works(t, a, phoneA) {
			t.Error("keys that were refused changed something")
		}
	})
}

// privateKeyOf reads what a device has in memory as its key.
func privateKeyOf(dev *device.Device) (k [32]byte) {
	v := reflect.ValueOf(dev).Elem().FieldByName("staticIdentity").FieldByName("privateKey")
	for i := range k {
		k[i] = byte(v.Index(i).Uint())
	}
	return k
}

// precomputedOf reads what a device has computed in advance for a peer from its key.
func precomputedOf(p *device.Peer) (k [32]byte) {
	v := reflect.ValueOf(p).Elem().FieldByName("handshake").FieldByName("precomputedStaticStatic")
	for i := range k {
		k[i] = byte(v.Index(i).Uint())
	}
	return k
}

// Of a key that goes nothing stays where it was, whichever way it goes, and neither
// does what was computed from it.
func TestKeysAreZeroed(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *rig){
		"replaced": func(t *testing.T, r *rig) { setKeys(t, r.Endpoint, newSeed) },
		"closed":   func(t *testing.T, r *rig) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, r *rig) {
				w := peerOf(t, 1, phoneA, true)
				w.PresharedKey = [32]byte{1, 2, 3}
				setPeers(t, r, w)
				dev := (*r.keys.Load())[0].dev
				p := dev.LookupPeer(device.NoisePublicKey(w.PublicKey))
				inMemory, secret := privateKeyOf(dev), precomputedOf(p)
				want, _ := key(t, gatewaySeed)
				want[0], want[31] = want[0]&248, want[31]&127|64
				if inMemory != want || secret == [32]byte{} {
					t.Fatal("the test doesn't look where the key is")
				}
				psk := &r.byKey[w.PublicKey].psk
				end(t, r)
				if privateKeyOf(dev) != [32]byte{} {
					t.Error("the key is still in memory")
				}
				if precomputedOf(p) == secret {
					t.Error("the secret shared with a peer is still in memory")
				}
				setPeersIfOpen(r)
				if *psk != [32]byte{} {
					t.Error("a pre-shared key is still in memory")
				}
			})
		})
	}
}

// setPeersIfOpen takes all peers away, unless the endpoint is closed.
func setPeersIfOpen(r *rig) { _ = r.SetPeers(nil) }
