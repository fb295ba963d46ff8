package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"time"
)

// PathConnections is where a terminal asks for the fallback path: at the public
// listener of each node, and at the phone API, so that it has what it needs before it
// needs it.
const PathConnections = "/v1/connections"

// MaxConnectionRequest bounds the JSON of a ConnectionRequest, in bytes.
const MaxConnectionRequest = 4 << 10

// ConnectionRequest asks for the fallback path. Beside the WireGuard key, which the
// handshake proves, it shows any of: the device certificate in TLS, account and
// password, and the key that the terminal shares with the gateway.
type ConnectionRequest struct {
	RequestID string    `json:"request_id"` // a repeat gets the same answer
	IMSI      string    `json:"imsi"`
	PublicKey []byte    `json:"public_key"` // of the terminal's WireGuard key, 32 bytes
	Time      time.Time `json:"time"`       // the terminal's
	Account   string    `json:"account,omitempty"`
	Password  string    `json:"password,omitempty"`
	KeyProof  []byte    `json:"key_proof,omitempty"` // ConnectionProof
}

// ConnectionAnswer is all that a WireGuard client has to know.
type ConnectionAnswer struct {
	Connection   uint64       `json:"connection"`    // its number
	Address      string       `json:"address"`       // of the terminal inside the tunnel: the same as over the carrier
	AllowedIPs   []string     `json:"allowed_ips"`   // what is reached through the tunnel: the gateway's inner addresses
	Endpoints    []string     `json:"endpoints"`     // host:port of each gateway address
	GatewayKeys  []GatewayKey `json:"gateway_keys"`  // the current one first
	PresharedKey []byte       `json:"preshared_key"` // of this connection, 32 bytes
	MTU          int          `json:"mtu"`           // inside the tunnel, bytes
	Keepalive    int          `json:"keepalive_seconds"`
	Issued       time.Time    `json:"issued"`
	RenewAfter   time.Time    `json:"renew_after"` // ask for another from then on
	Expires      time.Time    `json:"expires"`
}

// GatewayKey is a WireGuard key of the gateway's.
type GatewayKey struct {
	PublicKey []byte     `json:"public_key"`      // 32 bytes
	Until     *time.Time `json:"until,omitempty"` // of one that was replaced
}

// ConnectionExporter is the label of the TLS exporter (RFC 8446 7.5) whose 32 bytes,
// without a context, bind a ConnectionProof to the TLS connection that carries it.
const ConnectionExporter = "EXPORTER-sealedge-connection"

// ConnectionProof proves, for one request on one TLS connection, that the terminal has
// the key that it shares with the gateway, without showing it: HMAC with SHA-256 over
// what is asked for and the exported binding. It is good on no other connection.
func ConnectionProof(key, binding []byte, r ConnectionRequest) []byte {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "sealedge connection request v1\n%x\n%s\n%s\n%x\n%s\n", binding, r.RequestID, r.IMSI, r.PublicKey, r.Time.UTC().Format(time.RFC3339Nano))
	return h.Sum(nil)
}
