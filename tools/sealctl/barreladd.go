package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// isIMSI tells a terminal's name from a barrel's serial number. A barrel whose
// number has nothing but six digits and more is none of ours: see policy/ident.
func isIMSI(name string) bool {
	_, err := strconv.ParseUint(name, 10, 64)
	return err == nil && len(name) >= 6
}

func barrelPath(id string) string { return "/v1/barrels/" + url.PathEscape(strings.ToUpper(id)) }

// barrelFlags are what can be said about a barrel on the command line. Its key
// can't: others see command lines, and shells keep them.
func barrelFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mac", Usage: "`MAC` of a barrel"},
		&cli.StringFlag{Name: "seal-type", Usage: "`TYPE` of the seal that a barrel holds"},
		&cli.StringFlag{Name: "psk-file", Usage: "`FILE` with a barrel's pre-shared key, base64; - for standard input"},
		&cli.StringFlag{Name: "psk-identity", Usage: "`NAME` that goes with the key; its serial number unless said"},
		&cli.StringFlag{Name: "dtls-cert-sha256", Usage: "`DIGEST` of a barrel's certificate, hexadecimal"},
		&cli.StringFlag{Name: "receipt-public-key", Usage: "Ed25519 `KEY` that a barrel signs receipts with, base64"},
	}
}

// onlyFor refuses flags of another kind of device.
func onlyFor(c *cli.Context, name, kind string, flags []cli.Flag) error {
	for _, f := range flags {
		if c.IsSet(f.Names()[0]) {
			return usage(fmt.Sprintf("--%s is for %s, and %s is none", f.Names()[0], kind, name))
		}
	}
	return nil
}

func barrelShow(c *cli.Context, id string) error {
	var b adminapi.Barrel
	if err := get(c, barrelPath(id), &b); err != nil {
		return err
	}
	return showBarrels(c, b, []adminapi.Barrel{b})
}

func barrelAdd(c *cli.Context, id string) error {
	var others []cli.Flag
	for _, f := range terminalFlags() {
		if f.Names()[0] != "label" {
			others = append(others, f)
		}
	}
	if err := onlyFor(c, id, "a terminal", others); err != nil {
		return err
	}
	b := adminapi.Barrel{
		ID: id, MAC: c.String("mac"), SealType: c.String("seal-type"), Label: c.String("label"),
		PSKIdentity: c.String("psk-identity"), DTLSCertSHA256: c.String("dtls-cert-sha256"), ReceiptPublicKey: c.String("receipt-public-key"),
	}
	if name := c.String("psk-file"); name != "" {
		key, err := readPassword(name)
		if err != nil {
			return err
		}
		if b.PSK = string(key); b.PSKIdentity == "" {
			b.PSKIdentity = strings.ToUpper(id)
		}
	}
	if _, err := b.Record(); err != nil {
		return &hinted{exitUsage, err.Error(), "nothing was sent; mend what it names"}
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var p *wire.Problem
	switch err := cl.call(c.Context, http.MethodGet, barrelPath(id), nil, nil); {
	case err == nil:
		return &hinted{exitConflict, "there is a barrel " + strings.ToUpper(id) + " already", "change it with 'sealctl device import', which takes what is different"}
	case !errors.As(err, &p) || p.Code != wire.CodeNotFound:
		return err
	}
	doc, err := json.Marshal(b)
	if err != nil {
		return err
	}
	by, err := agreementOf(c, id)
	if err != nil {
		return err
	}
	if err := cl.putRow(c.Context, adminapi.DeviceRow{Barrel: doc}, by); err != nil {
		return err
	}
	return barrelShow(c, id)
}
