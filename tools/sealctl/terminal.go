package main

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func deviceList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	query, err := filterQuery(c)
	if err != nil {
		return err
	}
	list, err := all[adminapi.Terminal](c, "/v1/terminals"+query)
	if err != nil {
		return err
	}
	return showTerminals(c, list, list)
}

func showTerminals[T any](c *cli.Context, v T, list []adminapi.Terminal) error {
	var rows [][]string
	for _, t := range list {
		rows = append(rows, []string{
			t.IMSI, t.Label, t.State, t.MSISDN, strings.Join(t.IMEIs, ","), strings.Join(t.APNs, ","),
			listed(t.StaticAddress, t.StaticPrefix6), listed(t.Address, t.Prefix6), strings.Join(t.Groups, ","), announcedText(t), credentialsText(t.Credentials), yes(t.WireGuardPublicKey != ""),
		})
	}
	return show(c, v, []string{"IMSI", "LABEL", "STATE", "MSISDN", "IMEI", "APN", "STATIC", "ADDRESS", "GROUPS", "ANNOUNCED", "CREDENTIALS", "FALLBACK"}, rows)
}

// listed joins what is not empty.
func listed(words ...string) string {
	var out []string
	for _, w := range words {
		if w != "" {
			out = append(out, w)
		}
	}
	return strings.Join(out, ",")
}

// announcedText is the handset that is announced, and until when.
func announcedText(t adminapi.Terminal) string {
	if t.AnnouncedIMEI == "" {
		return ""
	}
	return t.AnnouncedIMEI + " until " + t.AnnouncedUntil.Format(time.DateTime)
}

// credentialsText is the user and how he may authenticate: "phone (PAP,CHAP)".
func credentialsText(c *adminapi.Credentials) string {
	if c == nil {
		return ""
	}
	var ways []string
	if c.PAP {
		ways = append(ways, "PAP")
	}
	if c.CHAP {
		ways = append(ways, "CHAP")
	}
	return c.User + " (" + strings.Join(ways, ",") + ")"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func terminalPath(imsi string) string { return "/v1/terminals/" + url.PathEscape(imsi) }

func deviceShow(c *cli.Context) error {
	a, err := arguments(c, "IMSI|BARREL")
	if err != nil {
		return err
	}
	if !isIMSI(a[0]) {
		return barrelShow(c, a[0])
	}
	var t adminapi.Terminal
	if err := get(c, terminalPath(a[0]), &t); err != nil {
		return err
	}
	return showTerminals(c, t, []adminapi.Terminal{t})
}

// terminalFlags are what can be said about a terminal on the command line. A
// password can't: others see command lines, and shells keep them.
func terminalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "apn", Usage: "`APN` that it may attach to; may be repeated"},
		&cli.StringSliceFlag{Name: "imei", Usage: "`IMEI` of a handset that the SIM may be in; may be repeated; none: any that the policy allows"},
		&cli.StringSliceFlag{Name: "group", Usage: "`GROUP` of the policy's rules that it is in; may be repeated"},
		&cli.StringFlag{Name: "msisdn", Usage: "telephone `NUMBER`, country code first"},
		&cli.StringFlag{Name: "static-address", Usage: "IPv4 `ADDRESS` that is always its own"},
		&cli.StringFlag{Name: "static-prefix6", Usage: "IPv6 `PREFIX` that is always its own, a /64"},
		&cli.StringFlag{Name: "wifi-mac", Usage: "`MAC` of its hotspot"},
		&cli.StringFlag{Name: "device-cert-sha256", Usage: "`DIGEST` of its certificate, hexadecimal"},
		&cli.StringFlag{Name: "wireguard-public-key", Usage: "`KEY` of its fallback path, base64"},
		&cli.StringFlag{Name: "label", Usage: "what people call it"},
		&cli.StringFlag{Name: "user", Usage: "user `NAME` of its APN settings; with --password-file"},
		&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password of its APN settings; - for standard input"},
		&cli.BoolFlag{Name: "chap", Usage: "let it authenticate by CHAP too, for which the gateway keeps the password itself, encrypted, and not only a hash; with --password-file"},
	}
}

func deviceAdd(c *cli.Context) error {
	a, err := arguments(c, "IMSI|BARREL")
	if err != nil {
		return err
	}
	if !isIMSI(a[0]) {
		return barrelAdd(c, a[0])
	}
	if err := onlyFor(c, a[0], "a barrel", barrelFlags()); err != nil {
		return err
	}
	t := adminapi.Terminal{IMSI: a[0]}
	if err := describe(c, &t); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	return put(c, cl, t, "?new=true")
}

// deviceUpdate changes the record that there is. Somebody else's change in
// between is a conflict.
func deviceUpdate(c *cli.Context) error {
	a, err := arguments(c, "IMSI")
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	cl.stale = false
	var t adminapi.Terminal
	if err := cl.call(c.Context, http.MethodGet, terminalPath(a[0]), nil, &t); err != nil {
		return err
	}
	if err := describe(c, &t); err != nil {
		return err
	}
	return put(c, cl, t, "")
}

func put(c *cli.Context, cl *client, t adminapi.Terminal, query string) error {
	if _, err := t.Record(); err != nil {
		return &hinted{exitUsage, err.Error(), "nothing was sent; mend what it names"}
	}
	by, err := agreementOf(c, t.IMSI)
	if err != nil {
		return err
	}
	var out adminapi.Terminal
	if err := cl.call(c.Context, http.MethodPut, by.in(terminalPath(t.IMSI)+query), t, &out); err != nil {
		return err
	}
	return showTerminals(c, out, []adminapi.Terminal{out})
}

// describe puts what the flags say into t.
func describe(c *cli.Context, t *adminapi.Terminal) error {
	for name, field := range map[string]*string{
		"msisdn": &t.MSISDN, "static-address": &t.StaticAddress, "static-prefix6": &t.StaticPrefix6, "wifi-mac": &t.WiFiMAC,
		"device-cert-sha256": &t.DeviceCertSHA256, "wireguard-public-key": &t.WireGuardPublicKey, "label": &t.Label,
	} {
		if c.IsSet(name) {
			*field = c.String(name)
		}
	}
	for name, field := range map[string]*[]string{"apn": &t.APNs, "imei": &t.IMEIs, "group": &t.Groups} {
		if c.IsSet(name) {
			*field = strings.FieldsFunc(strings.Join(c.StringSlice(name), ","), func(r rune) bool { return r == ',' })
		}
	}
	return describeCredentials(c, t)
}

func describeCredentials(c *cli.Context, t *adminapi.Terminal) error {
	named := c.IsSet("user") || c.IsSet("password-file") || c.IsSet("chap")
	switch {
	case c.Bool("no-credentials") && named:
		return usage("--no-credentials goes without --user, --password-file and --chap")
	case c.Bool("no-credentials"):
		t.Credentials = &adminapi.Credentials{}
		return nil
	case !named:
		return nil // what there is stays
	case !c.IsSet("password-file"):
		return usage("--user and --chap need --password-file: the gateway can't do it without the password")
	}
	var now adminapi.Credentials
	if t.Credentials != nil {
		now = *t.Credentials
	}
	if c.IsSet("user") {
		now.User = c.String("user")
	}
	if now.User == "" {
		return usage("--user is missing: a password goes with a user name")
	}
	if c.IsSet("chap") {
		now.CHAP = c.Bool("chap")
	}
	password, err := readPassword(c.String("password-file"))
	if err != nil {
		return err
	}
	now.Password = password
	t.Credentials = &now
	return nil
}
