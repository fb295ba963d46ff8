package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// filterFlags choose some of the devices.
func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "group", Usage: "only terminals of the `GROUP`, or barrels that they have"},
		&cli.StringFlag{Name: "state", Usage: "only those in the `STATE`: active, suspended or revoked"},
		&cli.StringFlag{Name: "seal-type", Usage: "only barrels with the `TYPE` of seal, or terminals that have such a barrel"},
		&cli.StringFlag{Name: "text", Usage: "only those with the `TEXT` in a number, address, label or group; case doesn't matter"},
	}
}

// filterQuery is the query of what filterFlags say.
func filterQuery(c *cli.Context) (string, error) {
	if states := []string{"active", "suspended", "revoked"}; c.IsSet("state") && !slices.Contains(states, c.String("state")) {
		return "", usage(fmt.Sprintf("--state %q is not known; it is %s", c.String("state"), strings.Join(states, ", ")))
	}
	q := url.Values{}
	for _, f := range []string{"group", "state", "seal-type", "text"} {
		if v := c.String(f); v != "" {
			q.Set(strings.ReplaceAll(f, "-", "_"), v)
		}
	}
	if len(q) == 0 {
		return "", nil
	}
	return "?" + q.Encode(), nil
}
