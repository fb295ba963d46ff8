package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealctl/router"
)

func routerCommand() *cli.Command {
	return &cli.Command{
		Name: "router", Usage: "travel routers: Wi-Fi for barrels, WireGuard towards the gateway",
		Subcommands: []*cli.Command{{
			Name: "export", Usage: "write a router's configuration", ArgsUsage: "IMSI|LABEL", Action: routerExport,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "format", Usage: "`FORMAT`: " + strings.Join(router.Formats(), " or "), Value: "openwrt"},
				&cli.StringFlag{Name: "dir", Usage: "`DIRECTORY` to write into; made if missing", Required: true},
				&cli.StringFlag{Name: "mac-check", Usage: "how it knows who may join: radius (it asks the gateway) or list; unless said, radius where the gateway answers it", DefaultText: "radius or list"},
				&cli.StringFlag{Name: "private-key-file", Usage: "`FILE` with its WireGuard key, as \"wg genkey\" writes it; made if missing", DefaultText: "wireguard.key in the directory"},
				&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` with the Wi-Fi's passphrase; made if missing", DefaultText: "wifi.passphrase in the directory"},
				&cli.StringFlag{Name: "ssid", Usage: "`NAME` of the Wi-Fi", Value: "sealedge"},
				&cli.StringFlag{Name: "endpoint", Usage: "`HOST:PORT` where it reaches the gateway", DefaultText: "the gateway's first address"},
				&cli.BoolFlag{Name: "issue", Usage: "issue a lease of the fallback path for it, with a pre-shared key: see 'sealctl fallback issue'"},
				&cli.StringFlag{Name: "for", Usage: "with --issue: `TIME` that the lease is good, such as 90d", DefaultText: "as long as the policy lets it"},
				&cli.StringFlag{Name: "lan", Usage: "its own `ADDRESS/BITS` on the Wi-Fi", Value: "192.168.86.1/24"},
				&cli.StringFlag{Name: "country", Usage: "`COUNTRY` whose rules the radio keeps, two capitals"},
				&cli.IntFlag{Name: "channel", Usage: "Wi-Fi `CHANNEL`"},
				&cli.StringFlag{Name: "radio", Usage: "OpenWrt's `NAME` of the radio", Value: "radio0"},
				&cli.StringFlag{Name: "interface", Usage: "Linux's `NAME` of the Wi-Fi interface", Value: "wlan0"},
			},
			Description: withExamples("A travel router is a terminal with an address of its own and a WireGuard key. The first export makes the key and says\n"+
				"how to put its public half on the allow-list. Files are readable by you alone: most have a secret in them, and none goes\n"+
				"to standard output. See docs/router.md.",
				"sealctl router export 460010000000001 --format openwrt --dir van-3"),
		}},
	}
}

// exported is what an export did.
type exported struct {
	IMSI     string   `json:"imsi"`
	Format   string   `json:"format"`
	MACCheck string   `json:"mac_check"`
	Devices  int      `json:"devices"` // that may join as it is now
	Files    []string `json:"files"`
}

func routerExport(c *cli.Context) error {
	a, err := arguments(c, "IMSI|LABEL")
	if err != nil {
		return err
	}
	s, err := routerSettings(c)
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	imsi, err := routerCalled(c, cl, a[0])
	if err != nil {
		return err
	}
	if err := cl.call(c.Context, http.MethodPost, "/v1/routers/"+url.PathEscape(imsi)+"/export", nil, &s.Router); err != nil {
		return err
	}
	check := c.String("mac-check")
	if check == "" {
		check = "list"
		if s.RADIUS != nil {
			check = "radius"
		}
	}
	s.ByRADIUS = check == "radius"
	dir := c.String("dir")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &hinted{exitUsage, err.Error(), "name a directory that can be made"}
	}
	if err := routerSecrets(c, &s); err != nil {
		return err
	}
	if c.Bool("issue") {
		if err := issueFor(c, cl, &s); err != nil {
			return err
		}
	}
	files, err := s.Files(c.String("format"))
	if err != nil {
		return &hinted{exitUsage, err.Error(), "nothing was written; mend what it names"}
	}
	done := exported{IMSI: imsi, Format: c.String("format"), MACCheck: check, Devices: len(s.Devices)}
	var rows [][]string
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if err := writeSecret(path, f.Content); err != nil {
			return err
		}
		done.Files = append(done.Files, path)
		rows = append(rows, []string{path, f.What})
	}
	if !s.ByRADIUS {
		fmt.Fprintf(c.App.ErrWriter, "the %d devices that may join now are in the files: export again when they change\n", len(s.Devices))
	}
	return show(c, done, []string{"FILE", "WHAT IT IS"}, rows)
}

// issueFor gets the router a lease of the fallback path: with it come a pre-shared key
// and an end.
func issueFor(c *cli.Context, cl *client, s *router.Settings) error {
	ask := adminapi.IssueFallback{PublicKey: s.PublicKey}
	if text := c.String("for"); text != "" {
		valid, err := span("for", text)
		if err != nil {
			return err
		}
		ask.LifetimeSeconds = uint32(valid.Seconds())
	}
	var out adminapi.IssuedFallback
	if err := cl.call(c.Context, http.MethodPost, fallbackPath(s.IMSI), ask, &out); err != nil {
		return err
	}
	s.PresharedKey = base64.StdEncoding.EncodeToString(out.Connection.PresharedKey)
	fmt.Fprintf(c.App.ErrWriter, "lease %d of %s is good until %s: export again before\n", out.Lease.Number, s.IMSI, stamp(out.Lease.Expires))
	return nil
}

// routerSettings are the flags, as far as they can be judged before anything is done.
func routerSettings(c *cli.Context) (router.Settings, error) {
	s := router.Settings{
		SSID: c.String("ssid"), Country: c.String("country"), Channel: c.Int("channel"), Radio: c.String("radio"), Interface: c.String("interface"),
		Endpoint: c.String("endpoint"),
	}
	if f := c.String("format"); !slices.Contains(router.Formats(), f) {
		return s, usage(fmt.Sprintf("format %q is not known; it is %s", f, strings.Join(router.Formats(), " or ")))
	}
	if m := c.String("mac-check"); m != "" && m != "radius" && m != "list" {
		return s, usage(fmt.Sprintf("mac-check %q is not known; it is radius or list", m))
	}
	lan, err := netip.ParsePrefix(c.String("lan"))
	if err != nil {
		return s, usage(fmt.Sprintf("lan %q is no address with bits, such as 192.168.86.1/24", c.String("lan")))
	}
	s.LAN = lan
	return s, nil
}

// routerCalled finds a router by what people call it.
func routerCalled(c *cli.Context, cl *client, name string) (string, error) {
	if imsi, err := ident.ParseIMSI(name); err == nil {
		return imsi.String(), nil
	}
	list, err := allOf[adminapi.Terminal](c.Context, cl, "/v1/terminals")
	if err != nil {
		return "", err
	}
	var found []string
	for _, t := range list {
		if t.Label == name {
			found = append(found, t.IMSI)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", &hinted{exitDenied, fmt.Sprintf("no terminal is called %q", name), "see what they are called with 'sealctl device list'"}
	}
	return "", usage(fmt.Sprintf("%d terminals are called %q; name one by its IMSI", len(found), name))
}

// routerSecrets reads the router's own secrets, or makes them. The gateway never has
// them: of the key it knows the public half.
func routerSecrets(c *cli.Context, s *router.Settings) error {
	file := func(flag, name string) string {
		if path := c.String(flag); path != "" {
			return path
		}
		return filepath.Join(c.String("dir"), name)
	}
	var err error
	if s.Passphrase, err = secretIn(file("passphrase-file", "wifi.passphrase"), func() (string, error) { return rand.Text(), nil }); err != nil {
		return err
	}
	path := file("private-key-file", "wireguard.key")
	var public string
	if s.PrivateKey, public, err = wireGuardKeyIn(path); err != nil {
		return err
	}
	hint := fmt.Sprintf("put it there with 'sealctl device update %s --wireguard-public-key %s', then export again", s.IMSI, public)
	switch s.PublicKey {
	case public:
		return nil
	case "":
		return &hinted{exitConflict, "the router's WireGuard key is not on the allow-list yet: it is in " + path, hint}
	}
	return &hinted{exitConflict, "the router has another WireGuard key on the allow-list than the one in " + path, "name the file with the other one, or " + hint}
}

// wireGuardKeyIn reads a key out of a file, or makes one there: both halves in base64.
func wireGuardKeyIn(path string) (private, public string, err error) {
	if private, err = secretIn(path, newWireGuardKey); err != nil {
		return "", "", err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(private)
	if err != nil || len(raw) != 32 {
		return "", "", &hinted{exitUsage, path + " holds no WireGuard key: want 32 bytes in base64", "make one with \"wg genkey\", or name a file that isn't there yet"}
	}
	defer clear(raw)
	key, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return "", "", err
	}
	return private, base64.StdEncoding.EncodeToString(key.PublicKey().Bytes()), nil
}

// newWireGuardKey is what "wg genkey" makes.
func newWireGuardKey() (string, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	b := key.Bytes()
	b[0] &= 248
	b[31] = b[31]&127 | 64
	return base64.StdEncoding.EncodeToString(b), nil
}

// secretIn reads a secret of one line out of a file, or puts a new one there.
func secretIn(path string, fresh func() (string, error)) (string, error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimRight(string(raw), "\r\n"), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", &hinted{exitUsage, err.Error(), "name a file that you can read, or one that isn't there yet"}
	}
	text, err := fresh()
	if err != nil {
		return "", err
	}
	return text, writeSecret(path, text+"\n")
}

// writeSecret puts a file there, whole, for nobody else to read.
func writeSecret(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".sealctl-*") // mode 0600
	if err != nil {
		return &hinted{exitFailed, err.Error(), "name a directory that you can write to"}
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
