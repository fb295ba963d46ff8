package adminapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/ident"
)

// Terminal is one phone of the allow-list: SIM, handset and the identities
// bound to it.
type Terminal struct {
	IMSI               string   `json:"imsi" yaml:"imsi"`
	MSISDN             string   `json:"msisdn,omitempty" yaml:"msisdn,omitempty"`
	IMEIs              []string `json:"imeis,omitempty" yaml:"imeis,omitempty"`
	APNs               []string `json:"apns" yaml:"apns"`
	StaticAddress      string   `json:"static_address,omitempty" yaml:"static_address,omitempty"`
	StaticPrefix6      string   `json:"static_prefix6,omitempty" yaml:"static_prefix6,omitempty"` // a /64
	WiFiMAC            string   `json:"wifi_mac,omitempty" yaml:"wifi_mac,omitempty"`
	DeviceCertSHA256   string   `json:"device_cert_sha256,omitempty" yaml:"device_cert_sha256,omitempty"`
	WireGuardPublicKey string   `json:"wireguard_public_key,omitempty" yaml:"wireguard_public_key,omitempty"`
	Label              string   `json:"label,omitempty" yaml:"label,omitempty"`
	Groups             []string `json:"groups,omitempty" yaml:"groups,omitempty"` // that the policy's rules name
	// AnnouncedIMEI is the handset that the SIM is going to be in: until
	// AnnouncedUntil it may take the bound one's place, and does so once.
	AnnouncedIMEI  string    `json:"announced_imei,omitempty" yaml:"announced_imei,omitempty"`
	AnnouncedUntil time.Time `json:"announced_until,omitzero" yaml:"announced_until,omitempty"`
	// Credentials in a request: absent or null keeps those that are stored, {}
	// removes them.
	Credentials *Credentials `json:"credentials,omitempty" yaml:"credentials,omitempty"`

	// Set by the gateway, ignored in requests; but a request with a version is
	// refused when the record has another one by then.
	State        string `json:"state,omitempty" yaml:"-"`
	Version      uint64 `json:"version,omitempty" yaml:"-"`
	RevokeReason string `json:"revoke_reason,omitempty" yaml:"-"`
	Address      string `json:"address,omitempty" yaml:"-"` // of its lease, if any
	Prefix6      string `json:"prefix6,omitempty" yaml:"-"`
}

// Barrel is one smart seal barrel of the allow-list.
type Barrel struct {
	ID               string `json:"id" yaml:"id"`
	MAC              string `json:"mac" yaml:"mac"`
	SealType         string `json:"seal_type" yaml:"seal_type"`
	PSKIdentity      string `json:"psk_identity,omitempty" yaml:"psk_identity,omitempty"`
	PSK              string `json:"psk,omitempty" yaml:"psk,omitempty"` // base64; never in an answer
	DTLSCertSHA256   string `json:"dtls_cert_sha256,omitempty" yaml:"dtls_cert_sha256,omitempty"`
	ReceiptPublicKey string `json:"receipt_public_key" yaml:"receipt_public_key"` // base64 Ed25519
	Label            string `json:"label,omitempty" yaml:"label,omitempty"`

	// Set by the gateway, ignored in requests.
	State        string `json:"state,omitempty" yaml:"-"`
	Version      uint64 `json:"version,omitempty" yaml:"-"`
	RevokeReason string `json:"revoke_reason,omitempty" yaml:"-"`
	CheckedOutTo string `json:"checked_out_to,omitempty" yaml:"-"`
	GrantCounter uint64 `json:"grant_counter" yaml:"-"`
	Alive        bool   `json:"alive" yaml:"-"` // holds a live lease, as the answering node knows
}

// mistakes collects every error of a document, so that all are shown at once.
type mistakes struct{ errs []error }

func (m *mistakes) add(field string, err error) {
	if err != nil {
		m.errs = append(m.errs, fmt.Errorf("%s: %w", field, err))
	}
}

func (m *mistakes) err() error { return errors.Join(m.errs...) }

// text parses an identifier and returns its canonical form.
func text[T fmt.Stringer](m *mistakes, field, value string, parse func(string) (T, error)) string {
	v, err := parse(value)
	m.add(field, err)
	return v.String()
}

func optional[T fmt.Stringer](m *mistakes, field, value string, parse func(string) (T, error)) string {
	if value == "" {
		return ""
	}
	return text(m, field, value, parse)
}

// key decodes base64 of exactly size bytes; empty stays empty.
func key(m *mistakes, field, value string, size int) []byte {
	if value == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(value)
	if err == nil && len(b) != size {
		err = fmt.Errorf("has %d bytes, want %d", len(b), size)
	}
	m.add(field, err)
	return b
}

// digest decodes a SHA-256 in hexadecimal; empty stays empty.
func digest(m *mistakes, field, value string) []byte {
	if value == "" {
		return nil
	}
	b, err := hex.DecodeString(value)
	if err == nil && len(b) != sha256.Size {
		err = fmt.Errorf("has %d bytes, want %d", len(b), sha256.Size)
	}
	m.add(field, err)
	return b
}

// Record validates the document and makes a subscriber record of it. The error
// names every field that is wrong.
func (t Terminal) Record() (*command.Subscriber, error) {
	var m mistakes
	s := &command.Subscriber{
		Imsi:               text(&m, "imsi", t.IMSI, ident.ParseIMSI),
		Msisdn:             optional(&m, "msisdn", t.MSISDN, ident.ParseMSISDN),
		WifiMac:            optional(&m, "wifi_mac", t.WiFiMAC, ident.ParseMAC),
		DeviceCertSha256:   digest(&m, "device_cert_sha256", t.DeviceCertSHA256),
		WireguardPublicKey: key(&m, "wireguard_public_key", t.WireGuardPublicKey, 32),
		State:              command.DeviceState_ACTIVE,
		Label:              t.Label,
	}
	for i, v := range t.IMEIs {
		s.Imeis = append(s.Imeis, text(&m, fmt.Sprintf("imeis[%d]", i), v, ident.ParseIMEI))
	}
	if len(t.APNs) == 0 {
		m.add("apns", errors.New("name at least one access point, such as seal.corp"))
	}
	for i, v := range t.APNs {
		s.Apns = append(s.Apns, text(&m, fmt.Sprintf("apns[%d]", i), v, ident.ParseAPN))
	}
	if t.StaticAddress != "" {
		a, err := netip.ParseAddr(t.StaticAddress)
		if err == nil && !a.Is4() {
			err = fmt.Errorf("%s is no IPv4 address", a)
		}
		m.add("static_address", err)
		s.StaticAddress = a.AsSlice()
	}
	if t.StaticPrefix6 != "" {
		p, err := parsePrefix6(t.StaticPrefix6)
		m.add("static_prefix6", err)
		s.StaticPrefix6 = p.Addr().AsSlice()
	}
	s.Groups = groups(&m, t.Groups)
	s.AnnouncedImei = optional(&m, "announced_imei", t.AnnouncedIMEI, ident.ParseIMEI)
	if (t.AnnouncedIMEI == "") != t.AnnouncedUntil.IsZero() {
		m.add("announced_until", errors.New("announced_imei and announced_until go together"))
	}
	if !t.AnnouncedUntil.IsZero() {
		s.AnnouncedUntil = t.AnnouncedUntil.UnixNano()
	}
	t.Credentials.check(&m)
	return s, m.err()
}

// maxGroups bounds the groups of a terminal: every decision looks at them.
const maxGroups = 16

// groups checks the names of groups, and sorts them.
func groups(m *mistakes, names []string) []string {
	sorted := slices.Sorted(slices.Values(names))
	if len(names) > maxGroups {
		m.add("groups", fmt.Errorf("%d are too many; a terminal may have %d", len(names), maxGroups))
	}
	for i, name := range names {
		switch {
		case !ident.PlainName(name):
			m.add(fmt.Sprintf("groups[%d]", i), fmt.Errorf(`%q can't name a group; use lower-case letters, digits and dashes, such as "head-office"`, name))
		case slices.Index(names, name) != i:
			m.add(fmt.Sprintf("groups[%d]", i), fmt.Errorf("%q is there twice; remove one", name))
		}
	}
	return sorted
}

// parsePrefix6 reads the /64 of a terminal.
func parsePrefix6(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Bits() != 64 || !p.Addr().Is6() || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is no /64; write it as fd00:90:0:7::/64", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s is not the start of the /64; did you mean %s?", s, p.Masked())
	case !p.Addr().IsGlobalUnicast():
		return netip.Prefix{}, fmt.Errorf("%s can't be given to a terminal; use a unique local or global one", s)
	}
	return p, nil
}

// TerminalOf shows a subscriber record with the first of its leases of each
// family.
func TerminalOf(s *command.Subscriber, leases ...*command.AddressLease) Terminal {
	t := Terminal{
		IMSI: s.Imsi, MSISDN: s.Msisdn, IMEIs: s.Imeis, APNs: s.Apns,
		StaticAddress: addressText(s.StaticAddress), StaticPrefix6: prefixText(s.StaticPrefix6), WiFiMAC: s.WifiMac,
		DeviceCertSHA256:   hex.EncodeToString(s.DeviceCertSha256),
		WireGuardPublicKey: base64.StdEncoding.EncodeToString(s.WireguardPublicKey),
		Label:              s.Label, State: stateText(s.State), Version: s.Version,
		RevokeReason: s.RevokeReason, Credentials: credentialsOf(s.Credentials),
		Groups: s.Groups, AnnouncedIMEI: s.AnnouncedImei, AnnouncedUntil: timeOf(s.AnnouncedUntil),
	}
	for _, l := range leases {
		switch a := l.GetAddress(); {
		case len(a) == 4 && t.Address == "":
			t.Address = addressText(a)
		case len(a) == 16 && t.Prefix6 == "":
			t.Prefix6 = prefixText(a)
		}
	}
	return t
}

// Record validates the document and makes a barrel record of it, the PSK still
// in clear: the caller wraps it before it goes into a command (edge/keywrap).
// The error names every field that is wrong.
func (b Barrel) Record() (*command.Barrel, error) { return b.RecordWith(false) }

// RecordWith is Record; with pskKept the PSK may be missing, because it stays as
// it is stored.
func (b Barrel) RecordWith(pskKept bool) (*command.Barrel, error) {
	var m mistakes
	r := &command.Barrel{
		Id:               text(&m, "id", b.ID, ident.ParseBarrelID),
		Mac:              text(&m, "mac", b.MAC, ident.ParseMAC),
		PskIdentity:      b.PSKIdentity,
		DtlsCertSha256:   digest(&m, "dtls_cert_sha256", b.DTLSCertSHA256),
		ReceiptPublicKey: key(&m, "receipt_public_key", b.ReceiptPublicKey, 32),
		SealType:         b.SealType,
		State:            command.DeviceState_ACTIVE,
		Label:            b.Label,
	}
	if b.PSK != "" {
		psk, err := base64.StdEncoding.DecodeString(b.PSK)
		if err == nil && len(psk) < 16 {
			err = fmt.Errorf("has %d bytes, want at least 16", len(psk))
		}
		m.add("psk", err)
		r.Psk = psk
	}
	if b.SealType == "" {
		m.add("seal_type", errors.New("missing: name the seal that the barrel holds, such as contract"))
	}
	if b.ReceiptPublicKey == "" {
		m.add("receipt_public_key", errors.New("missing: without it no stamping could be confirmed"))
	}
	if (b.PSKIdentity == "") != (b.PSK == "") && (!pskKept || b.PSKIdentity == "") {
		m.add("psk_identity", errors.New("psk_identity and psk go together"))
	}
	if b.PSKIdentity == "" && b.DTLSCertSHA256 == "" {
		m.add("psk_identity", errors.New("the barrel has no DTLS identity: give psk_identity and psk, or dtls_cert_sha256"))
	}
	return r, m.err()
}

// BarrelOf shows a barrel record, without its PSK.
func BarrelOf(b *command.Barrel, alive bool) Barrel {
	return Barrel{
		ID: b.Id, MAC: b.Mac, SealType: b.SealType, PSKIdentity: b.PskIdentity,
		DTLSCertSHA256:   hex.EncodeToString(b.DtlsCertSha256),
		ReceiptPublicKey: base64.StdEncoding.EncodeToString(b.ReceiptPublicKey),
		Label:            b.Label, State: stateText(b.State), Version: b.Version,
		RevokeReason: b.RevokeReason, CheckedOutTo: b.CheckedOutTo,
		GrantCounter: b.GrantCounter, Alive: alive,
	}
}

func stateText(s command.DeviceState) string {
	switch s {
	case command.DeviceState_ACTIVE:
		return "active"
	case command.DeviceState_SUSPENDED_DEVICE:
		return "suspended"
	case command.DeviceState_REVOKED_DEVICE:
		return "revoked"
	}
	return ""
}

// prefixText writes a terminal's /64.
func prefixText(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok || !a.Is6() {
		return ""
	}
	return netip.PrefixFrom(a, 64).String()
}

func addressText(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return ""
	}
	return a.Unmap().String()
}
