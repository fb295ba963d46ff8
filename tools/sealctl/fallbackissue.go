package main

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"rsc.io/qr"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

func fallbackIssueCommand() *cli.Command {
	return &cli.Command{
		Name: "issue", Usage: "issue a WireGuard configuration for a client that can't ask for its own", ArgsUsage: "IMSI|LABEL", Action: fallbackIssue,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "`FILE` for wg-quick, that only you can read; it is named like the interface, such as seal0.conf", Required: true},
			&cli.StringFlag{Name: "private-key-file", Usage: "`FILE` with the client's WireGuard key, as \"wg genkey\" writes it; made if missing", DefaultText: "FILE with .key instead of .conf"},
			&cli.StringFlag{Name: "for", Usage: "`TIME` that it is good, such as 12h or 90d", DefaultText: "as long as the policy lets it"},
			&cli.StringFlag{Name: "endpoint", Usage: "`HOST:PORT` where the client reaches the gateway", DefaultText: "the gateway's first address"},
			&cli.BoolFlag{Name: "replace-key", Usage: "bind the key though another is on the allow-list; that one is good no more"},
			&cli.BoolFlag{Name: "qr", Usage: "show it at this terminal as a QR code, for the WireGuard app"},
			&cli.StringFlag{Name: "qr-png", Usage: "`FILE` for the QR code as a picture, that only you can read"},
			&cli.BoolFlag{Name: "force", Usage: "with --qr: also where standard output is no terminal"},
			reasonFlag(), breakGlassFlag(),
		},
		Description: withExamples("The client's key is made here, and its private half goes nowhere else but into the file and the QR code: whoever sees\n"+
			"one of them is the terminal. The public half is put on the allow-list, for which others may have to agree: then issue\n"+
			"again when they have. The gateway adds a key that it shares with the client. Whatever lease the terminal has is replaced.",
			"sealctl fallback issue 460010000000001 --file seal0.conf", "sealctl fallback issue 'van 3' --file seal0.conf --for 30d --qr"),
	}
}

// issuedFile is what was issued, without what is secret.
type issuedFile struct {
	Lease    adminapi.FallbackLease `json:"lease"`
	Address  string                 `json:"address"`
	Endpoint string                 `json:"endpoint"`
	Files    []string               `json:"files"`
}

func fallbackIssue(c *cli.Context) error {
	a, err := arguments(c, "IMSI|LABEL")
	if err != nil {
		return err
	}
	ask, err := issueFlags(c)
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
	keyFile := keyFileOf(c)
	private, public, err := wireGuardKeyIn(keyFile)
	if err != nil {
		return err
	}
	if err := bindKey(c, cl, imsi, public, keyFile); err != nil {
		return err
	}
	ask.PublicKey = public
	var out adminapi.IssuedFallback
	if err := cl.call(c.Context, http.MethodPost, fallbackPath(imsi), ask, &out); err != nil {
		return err
	}
	t := tunnel{out.Connection, private, c.String("endpoint")}
	if err := t.check(); err != nil {
		return &hinted{exitFailed, err.Error(), "the lease is issued, and nothing was written; mend what it names and issue again"}
	}
	return t.handOver(c, out.Lease)
}

// keyFileOf is where the client's own key is.
func keyFileOf(c *cli.Context) string {
	if file := c.String("private-key-file"); file != "" {
		return file
	}
	return strings.TrimSuffix(c.String("file"), ".conf") + ".key"
}

// issueFlags are what can be judged before anything is done.
func issueFlags(c *cli.Context) (ask adminapi.IssueFallback, err error) {
	if text := c.String("for"); text != "" {
		valid, err := span("for", text)
		if err != nil {
			return ask, err
		}
		if valid == 0 {
			return ask, usage("--for 0 is no time")
		}
		ask.LifetimeSeconds = uint32(valid.Seconds())
	}
	if e := c.String("endpoint"); e != "" && !isEndpoint(e) {
		return ask, usage(fmt.Sprintf("endpoint %q: write host:port, such as vpn.example.org:51820", e))
	}
	files := []string{filepath.Clean(c.String("file")), filepath.Clean(keyFileOf(c))}
	if png := c.String("qr-png"); png != "" {
		files = append(files, filepath.Clean(png))
	}
	for i, name := range files {
		if slices.Contains(files[:i], name) {
			return ask, usage(name + " is named twice: configuration, key and picture are files of their own")
		}
	}
	switch terminal := screenOf(c.App.Writer).terminal; {
	case c.Bool("qr") && !terminal && !c.Bool("force"):
		return ask, usage("--qr shows a secret, and standard output is no terminal: take --qr-png FILE, or add --force")
	case c.Bool("qr") && c.String("output") != "table":
		return ask, usage("--qr and -o both take standard output: leave one of them out")
	}
	return ask, nil
}

// bindKey puts the public half of a terminal's key on the allow-list, if it isn't
// there.
func bindKey(c *cli.Context, cl *client, imsi, public, file string) error {
	fresh := *cl
	fresh.stale = false
	var t adminapi.Terminal
	if err := fresh.call(c.Context, http.MethodGet, terminalPath(imsi), nil, &t); err != nil {
		return err
	}
	switch {
	case t.WireGuardPublicKey == public:
		return nil
	case t.WireGuardPublicKey != "" && !c.Bool("replace-key"):
		return &hinted{
			exitConflict, "the terminal has another WireGuard key on the allow-list than the one in " + file,
			"name the file with the other one by --private-key-file, or add --replace-key: then the other one is good no more",
		}
	}
	by, err := agreementOf(c, imsi)
	if err != nil {
		return err
	}
	t.WireGuardPublicKey = public
	var now adminapi.Terminal
	if err := fresh.call(c.Context, http.MethodPut, by.in(terminalPath(imsi)), t, &now); err != nil {
		if h, ok := err.(*hinted); ok && h.code == exitApproval {
			return &hinted{h.code, h.msg, h.hint + "; then issue again, with the same files"}
		}
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "key %s is on the allow-list for %s\n", public, imsi)
	return nil
}

// tunnel is what a client's configuration is made of.
type tunnel struct {
	wire.ConnectionAnswer
	private  string // key, base64
	endpoint string // empty: the first of the answer
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$`)

func isEndpoint(text string) bool {
	host, port, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && n > 0 && (hostName.MatchString(host) || net.ParseIP(host) != nil)
}

func (t tunnel) at() string {
	if t.endpoint != "" || len(t.Endpoints) == 0 {
		return t.endpoint
	}
	return t.Endpoints[0]
}

// check refuses what would make another file than is meant: every value that goes
// into one is looked at here.
func (t tunnel) check() error {
	if _, err := netip.ParseAddr(t.Address); err != nil {
		return fmt.Errorf("the gateway's answer: address %q is none", t.Address)
	}
	if len(t.AllowedIPs) == 0 {
		return fmt.Errorf("the gateway's answer: nothing is reached through the tunnel")
	}
	for _, p := range t.AllowedIPs {
		if _, err := netip.ParsePrefix(p); err != nil {
			return fmt.Errorf("the gateway's answer: %q is no range of addresses", p)
		}
	}
	switch {
	case !isEndpoint(t.at()):
		return fmt.Errorf("endpoint %q: write host:port, such as vpn.example.org:51820", t.at())
	case len(t.GatewayKeys) == 0 || len(t.GatewayKeys[0].PublicKey) != 32 || len(t.PresharedKey) != 32:
		return fmt.Errorf("the gateway's answer has no keys of 32 bytes")
	}
	return nil
}

// config is for wg-quick and the WireGuard apps.
func (t tunnel) config() string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %s\nMTU = %d\n\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nEndpoint = %s\nAllowedIPs = %s\nPersistentKeepalive = %d\n",
		t.private, t.Address, t.MTU, b64(t.GatewayKeys[0].PublicKey), b64(t.PresharedKey), t.at(), strings.Join(t.AllowedIPs, ", "), t.Keepalive)
}

// handOver writes the files, and shows what there is.
func (t tunnel) handOver(c *cli.Context, l adminapi.FallbackLease) error {
	head := fmt.Sprintf("# Fallback path of terminal %s, lease %d, good until %s.\n# Written by \"sealctl fallback issue\".\n", l.IMSI, l.Number, stamp(l.Expires))
	tail := ""
	for _, e := range t.Endpoints {
		if e != t.at() && isEndpoint(e) {
			tail += fmt.Sprintf("# The gateway is also at %s.\n", e)
		}
	}
	done := issuedFile{Lease: l, Address: t.Address, Endpoint: t.at(), Files: []string{c.String("file")}}
	if err := writeSecret(c.String("file"), head+t.config()+tail); err != nil {
		return err
	}
	rows := [][]string{{c.String("file"), "for wg-quick, as " + strings.TrimSuffix(filepath.Base(c.String("file")), ".conf")}}
	if png := c.String("qr-png"); png != "" {
		code, err := qr.Encode(t.config(), qr.M)
		if err != nil {
			return err
		}
		if err := writeSecret(png, string(code.PNG())); err != nil {
			return err
		}
		done.Files = append(done.Files, png)
		rows = append(rows, []string{png, "QR code, for the WireGuard app"})
	}
	fmt.Fprintf(c.App.ErrWriter, "lease %d of %s is good until %s\n", l.Number, l.IMSI, stamp(l.Expires))
	if err := show(c, done, []string{"FILE", "WHAT IT IS"}, rows); err != nil {
		return err
	}
	if !c.Bool("qr") {
		return nil
	}
	code, err := qr.Encode(t.config(), qr.L) // there is no dirt on a screen
	if err != nil {
		return err
	}
	s := screenOf(c.App.Writer)
	if s.width > 0 && s.width < qrWidth(code) {
		return &hinted{
			exitUsage, fmt.Sprintf("the QR code is %d columns wide, and the terminal %d", qrWidth(code), s.width),
			"the lease is issued and " + c.String("file") + " is there; make the terminal wider and issue again, or take --qr-png",
		}
	}
	_, err = fmt.Fprint(c.App.Writer, qrText(code, s))
	return err
}
