package wire

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"
)

// The bytes are what other implementations compute, and every part counts.
func TestKeyProof(t *testing.T) {
	r := UseRequest{
		RequestID: "r1", TerminalAddress: "10.90.0.2", ServerAddress: "127.0.2.1:8443", Time: time.Date(2026, 11, 22, 16, 0, 0, 0, time.FixedZone("", 8*3600)),
		Order: "WO-1", Barrel: "SB-0001", Count: 2,
	}
	proof := KeyProof([]byte("key"), r)
	if got := hex.EncodeToString(proof); got != "e75ba92dc83a859ff6507ccd4b787a9cac22d2ef481f2b1674b04de3d25113b1" {
		t.Error(got)
	}
	for name, change := range map[string]func(*UseRequest){
		"request id": func(r *UseRequest) { r.RequestID = "r2" },
		"terminal":   func(r *UseRequest) { r.TerminalAddress = "10.90.0.3" },
		"server":     func(r *UseRequest) { r.ServerAddress = "127.0.2.2:8443" },
		"time":       func(r *UseRequest) { r.Time = r.Time.Add(1) },
		"order":      func(r *UseRequest) { r.Order = "WO-2" },
		"barrel":     func(r *UseRequest) { r.Barrel = "SB-0002" },
		"count":      func(r *UseRequest) { r.Count = 3 },
	} {
		other := r
		change(&other)
		if bytes.Equal(KeyProof([]byte("key"), other), proof) {
			t.Errorf("the %s doesn't count", name)
		}
	}
	if bytes.Equal(KeyProof([]byte("kez"), r), proof) {
		t.Error("the key doesn't count")
	}
}
