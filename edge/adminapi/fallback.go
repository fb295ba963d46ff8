package adminapi

import (
	"encoding/base64"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// FallbackLease is what a terminal has for the fallback path, without the secret.
type FallbackLease struct {
	IMSI      string    `json:"imsi"`
	Number    uint64    `json:"number"`
	PublicKey string    `json:"public_key"` // of the terminal's WireGuard key, base64
	Shown     []string  `json:"shown"`      // what the terminal proved to be by
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires"`
	By        string    `json:"by"`      // an actor of the audit chain
	ByHand    bool      `json:"by_hand"` // by an operator, for a client that can't ask
}

// FallbackLeaseOf shows a lease.
func FallbackLeaseOf(l *command.FallbackLease) FallbackLease {
	return FallbackLease{
		IMSI: l.Imsi, Number: l.Number, PublicKey: base64.StdEncoding.EncodeToString(l.PublicKey), Shown: append([]string{}, policy.Credentials(l.Shown).Names()...),
		Issued: timeOf(l.Issued), Expires: timeOf(l.Expires), By: l.By, ByHand: l.IssuedByOperator,
	}
}

// Fallback is how a terminal stands with the fallback path.
type Fallback struct {
	IMSI      string         `json:"imsi"`
	PublicKey string         `json:"public_key,omitempty"` // of its WireGuard key as on the allow-list, base64; empty: it has none
	Address   string         `json:"address,omitempty"`    // that it has inside the tunnel; empty: none is reserved
	Lease     *FallbackLease `json:"lease,omitempty"`      // absent: it comes by its key alone, if the policy lets it
	Session   uint64         `json:"session,omitempty"`    // that has the fallback path now
	Active    bool           `json:"active"`               // whether that path carries
	Endpoint  string         `json:"endpoint,omitempty"`   // where the terminal was heard from last
}

// IssueFallback asks for a lease for a client that can't ask by itself.
type IssueFallback struct {
	PublicKey       string `json:"public_key"`                 // of the terminal's WireGuard key, base64; the one on the allow-list
	LifetimeSeconds uint32 `json:"lifetime_seconds,omitempty"` // 0: as long as the policy lets it
}

// IssuedFallback has the pre-shared key: it is in no other answer.
type IssuedFallback struct {
	Lease      FallbackLease         `json:"lease"`
	Connection wire.ConnectionAnswer `json:"connection"`
}

// FallbackKey is a WireGuard key of the gateway's.
type FallbackKey struct {
	PublicKey string    `json:"public_key"` // base64
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until,omitzero"` // when one that was replaced goes; absent: it is the current one
	By        string    `json:"by"`             // an actor of the audit chain
}

// FallbackKeyOf shows a key of the gateway's.
func FallbackKeyOf(k *command.ServerKey) FallbackKey {
	return FallbackKey{PublicKey: base64.StdEncoding.EncodeToString(k.PublicKey), Since: timeOf(k.Since), Until: timeOf(k.Until), By: k.By}
}

// RotateFallbackKey has the gateway take a new key.
type RotateFallbackKey struct {
	Replaces       string `json:"replaces,omitempty"` // the current one, base64; empty: whichever it is
	OverlapSeconds uint32 `json:"overlap_seconds"`    // for how long the one before is good yet; 0: not at all
}

// endpointText is where a terminal on the fallback path was heard from; empty: it
// isn't known.
func endpointText(w *command.WireGuardPath) string {
	a, ok := netip.AddrFromSlice(w.GetEndpoint())
	if !ok || w.EndpointPort == 0 {
		return ""
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(w.EndpointPort)).String()
}

// FallbackOf shows how a terminal stands with the fallback path, given what it has.
func FallbackOf(s *command.Subscriber, address []byte, lease *command.FallbackLease, session *command.Session) Fallback {
	v := Fallback{IMSI: s.GetImsi(), Address: addressText(address), PublicKey: base64.StdEncoding.EncodeToString(s.GetWireguardPublicKey())}
	if lease != nil {
		l := FallbackLeaseOf(lease)
		v.Lease = &l
	}
	if w := session.GetWireguard(); w != nil {
		v.Session, v.Active, v.Endpoint = session.Id, session.Active == command.PathKind_WIREGUARD, endpointText(w)
	}
	return v
}
