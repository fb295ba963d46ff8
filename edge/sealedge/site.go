package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/policy/ident"
)

// siteFlags say where "sealedge init" puts a cluster that isn't all on loopback.
func siteFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "host", Usage: "`ADDRESS` of a node's machine; once for each node"},
		&cli.StringFlag{Name: "gateway", Usage: "`ADDRESS` that carriers and the fallback path see, which moves between the nodes"},
		&cli.StringSliceFlag{Name: "carrier", Usage: "`PREFIX` of a carrier's gateways; may be repeated"},
		&cli.StringFlag{Name: "apn", Usage: "`NAME` of the access point", Value: "seal.corp"},
		&cli.StringFlag{Name: "inner", Usage: "`ADDRESS` of the gateway inside the tunnels"},
		&cli.StringFlag{Name: "pool", Usage: "`PREFIX` of the terminals' addresses"},
		&cli.StringSliceFlag{Name: "admin-name", Usage: "further `NAME` or address by which operators call the nodes, for certificates; may be repeated"},
		&cli.StringSliceFlag{Name: "intranet-name", Usage: "further `NAME` or address by which the seal server calls them"},
		&cli.StringSliceFlag{Name: "fallback-name", Usage: "further `NAME` or address by which terminals ask for the fallback path"},
		&cli.StringFlag{Name: "seal-server", Usage: "`ADDRESS:PORT` of the seal server"},
	}
}

// readSite reads them, and tells all mistakes at once. What isn't given stays as it is.
func readSite(c *cli.Context, o *setup.Options) error {
	var errs []error
	wrong := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	for _, s := range c.StringSlice("host") {
		a, err := netip.ParseAddr(s)
		o.Hosts = append(o.Hosts, a)
		wrong("host", err)
	}
	if len(o.Hosts) > 0 && !c.IsSet("nodes") {
		o.Nodes = len(o.Hosts)
	}
	for _, s := range c.StringSlice("carrier") {
		p, err := netip.ParsePrefix(s)
		o.Carriers = append(o.Carriers, p)
		wrong("carrier", err)
	}
	o.Names = map[string][]string{}
	for _, listener := range []string{"admin", "intranet", "fallback"} {
		o.Names[listener] = c.StringSlice(listener + "-name")
	}
	given(c, "gateway", netip.ParseAddr, &o.Gateway, wrong)
	given(c, "apn", ident.ParseAPN, &o.APN, wrong)
	given(c, "inner", netip.ParseAddr, &o.Inner, wrong)
	given(c, "pool", netip.ParsePrefix, &o.Pool, wrong)
	given(c, "seal-server", netip.ParseAddrPort, &o.SealServer, wrong)
	return errors.Join(errs...)
}

// given reads one flag, if it is there.
func given[T any](c *cli.Context, flag string, parse func(string) (T, error), into *T, wrong func(string, error)) {
	if s := c.String(flag); s != "" {
		v, err := parse(s)
		*into = v
		wrong(flag, err)
	}
}
