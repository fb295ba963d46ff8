// Package router writes the configuration of a travel router: Wi-Fi for barrels,
// WireGuard towards the gateway, and between the two nothing but the gateway's inner
// services. It makes files in memory and reads nothing; who stores them keeps them
// from others, since most have a secret in them.
package router

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// Settings are what a router's files are made of.
type Settings struct {
	adminapi.Router
	PrivateKey string // of its WireGuard key, base64
	Endpoint   string // host:port where it reaches the gateway; empty: the first of Router
	ByRADIUS   bool   // who joins is asked for, not listed

	SSID       string
	Passphrase string
	Country    string       // ISO 3166-1, two capitals; empty: not set
	Channel    int          // 0: not set
	Radio      string       // of OpenWrt, such as radio0
	Interface  string       // of Linux, such as wlan0
	LAN        netip.Prefix // the router's own address on its Wi-Fi, and how large that is
}

// File is one that belongs on the router.
type File struct {
	Name    string
	What    string // it is, in a few words
	Content string
}

// Formats lists how the files can be written.
func Formats() []string { return []string{"hostapd", "openwrt"} }

// Files makes the files in a format, or says what is wrong with the settings.
func (s Settings) Files(format string) ([]File, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	switch format {
	case "openwrt":
		return s.openWrt(), nil
	case "hostapd":
		return s.hostapd(), nil
	}
	return nil, fmt.Errorf("format %q is not known; it is %s", format, strings.Join(Formats(), " or "))
}

var (
	deviceName = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,14}$`)
	country    = regexp.MustCompile(`^[A-Z]{2}$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?$`)
	key        = regexp.MustCompile(`^[A-Za-z0-9+/]{43}=$`)
	hexSecret  = regexp.MustCompile(`^[0-9a-zA-Z]{16,64}$`)
)

// check refuses what would make another file than is meant: every value that goes
// into one is looked at here.
func (s Settings) check() error {
	gateway, err := netip.ParseAddr(s.Gateway)
	if err != nil || !gateway.Is4() {
		return fmt.Errorf("gateway %q is no IPv4 address", s.Gateway)
	}
	own, err := netip.ParseAddr(s.Address)
	if err != nil || !own.Is4() {
		return fmt.Errorf("address %q is no IPv4 address", s.Address)
	}
	switch {
	case len(s.SSID) == 0 || len(s.SSID) > 32 || strings.ContainsFunc(s.SSID, unprintable):
		return fmt.Errorf("SSID %q: a Wi-Fi's name has 1 to 32 printable ASCII characters", s.SSID)
	case len(s.Passphrase) < 8 || len(s.Passphrase) > 63 || strings.ContainsFunc(s.Passphrase, unprintable):
		return errors.New("a Wi-Fi's passphrase has 8 to 63 printable ASCII characters") // without it
	case s.Country != "" && !country.MatchString(s.Country):
		return fmt.Errorf("country %q: write two capitals, such as DE", s.Country)
	case s.Channel < 0 || s.Channel > 196:
		return fmt.Errorf("channel %d is none", s.Channel)
	case !deviceName.MatchString(s.Radio) || !deviceName.MatchString(s.Interface):
		return fmt.Errorf("radio %q, interface %q: write them as the router has them, such as radio0 and wlan0", s.Radio, s.Interface)
	case !key.MatchString(s.PrivateKey):
		return errors.New("the WireGuard key is not 32 bytes in base64")
	case !key.MatchString(s.ServerKey):
		return fmt.Errorf("the gateway's WireGuard key %q is not 32 bytes in base64", s.ServerKey)
	case s.PresharedKey != "" && !key.MatchString(s.PresharedKey):
		return errors.New("the pre-shared key is not 32 bytes in base64")
	case s.RADIUS == nil && s.ByRADIUS:
		return errors.New("the gateway doesn't answer RADIUS: set radius.port on every node, or have the devices listed")
	case s.ByRADIUS && (!hexSecret.MatchString(s.RADIUS.Secret) || s.RADIUS.Port == 0):
		return errors.New("the RADIUS secret or port is not one")
	case !s.LAN.IsValid() || !s.LAN.Addr().Is4() || s.LAN.Bits() < 8 || s.LAN.Bits() > 28:
		return fmt.Errorf("LAN %v: write the router's own address and how large its network is, such as 192.168.86.1/24", s.LAN)
	case s.LAN.Addr() == s.LAN.Masked().Addr() || s.LAN.Contains(gateway) || s.LAN.Contains(own):
		return fmt.Errorf("LAN %v: the address must be a host's, and the network another than the tunnel's", s.LAN)
	}
	host, port, err := net.SplitHostPort(s.endpoint())
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || !hostName.MatchString(host) && net.ParseIP(host) == nil {
		return fmt.Errorf("endpoint %q: write host:port, such as vpn.example.org:51820", s.endpoint())
	}
	for _, d := range s.Devices {
		if mac, err := net.ParseMAC(d.MAC); err != nil || mac.String() != d.MAC {
			return fmt.Errorf("MAC %q is none", d.MAC)
		}
		if strings.ContainsFunc(d.Role+d.Barrel, unprintable) {
			return fmt.Errorf("device %s: its role or number can't be written", d.MAC)
		}
	}
	if strings.ContainsFunc(s.IMSI, func(r rune) bool { return r < '0' || r > '9' }) || s.IMSI == "" {
		return fmt.Errorf("IMSI %q is none", s.IMSI)
	}
	return nil
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

func (s Settings) endpoint() string {
	if s.Endpoint != "" || len(s.Endpoints) == 0 {
		return s.Endpoint
	}
	return s.Endpoints[0]
}

// others are the gateway's further addresses.
func (s Settings) others() []string {
	return slices.DeleteFunc(slices.Clone(s.Endpoints), func(e string) bool { return e == s.endpoint() })
}

// heading is the comment above every file.
func (s Settings) heading(what string) string {
	who := "router " + s.IMSI
	if s.Label != "" && !strings.ContainsFunc(s.Label, unprintable) {
		who += " (" + s.Label + ")"
	}
	return fmt.Sprintf("# %s of the sealedge travel %s\n# Written by \"sealctl router export\", by policy revision %d and allow-list version %d.\n", what, who, s.Revision, s.Version)
}

// comment says what a device is.
func comment(d adminapi.RouterDevice) string {
	if d.Barrel != "" {
		return d.Role + " " + d.Barrel
	}
	return d.Role
}
