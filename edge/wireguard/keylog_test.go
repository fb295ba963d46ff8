package wireguard

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// No key, private, public or pre-shared, whole or in part, in any spelling, gets into
// the log or an error, whatever goes wrong.
func TestKeysAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		setKeys(t, r.Endpoint, newSeed, gatewaySeed)
		listed := []Peer{withPSK(peerOf(t, 1, phoneA, true), 0x51), withPSK(peerOf(t, 2, phoneB, true), 0x52)}
		setPeers(t, r, listed...)
		fails := func(what string, err error) {
			if err == nil {
				t.Errorf("%s: no error", what)
			}
			fmt.Fprintln(&log, err)
		}
		fails("twice the same peer", r.SetPeers(append(listed, withPSK(peerOf(t, 1, gateway, true), 0x51))))
		one, _ := key(t, gatewaySeed)
		fails("twice the same key", r.SetKeys(one, one))
		keepAll(t, r.Endpoint)
		// A peer that was never heard: the device has nowhere to send to, and
		// says so.
		if err := r.Send(ip(gateway, phoneB, 60, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		a := r.phone(t, 1, 0) // without its pre-shared key
		a.send(ip(phoneA, gateway, 60, 1))
		time.Sleep(time.Minute)
		a.set(t, gatewaySeed, pskLine(0x51))
		time.Sleep(time.Minute)
		a.send(ip(phoneA, gateway, 60, 1))
		r.uplinked()
		// Its way out is gone.
		listed[0].Endpoint = netip.MustParseAddrPort("[2001:db8::1]:1")
		setPeers(t, r, listed...)
		a.close()
		time.Sleep(10 * time.Minute)
		setKeys(t, r.Endpoint, newSeed)
		r.Close()
		if log.Len() == 0 {
			t.Fatal("nothing was logged: the test shows nothing")
		}
		var all [][32]byte
		for _, seed := range []byte{1, 2, gatewaySeed, newSeed} {
			private, public := key(t, seed)
			all = append(all, private, public)
		}
		for _, p := range listed {
			all = append(all, p.PresharedKey)
		}
		for _, k := range all {
			b64 := base64.StdEncoding.EncodeToString(k[:])
			for _, s := range []string{hex.EncodeToString(k[:4]), b64[:4], b64[39:43], fmt.Sprint(k[:3])} {
				if strings.Contains(log.String(), strings.Trim(s, "[]")) {
					t.Errorf("the log has %q of a key:\n%s", s, log.String())
				}
			}
		}
	})
}
