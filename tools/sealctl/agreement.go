package main

import (
	"net/url"

	"github.com/urfave/cli/v2"
)

// agreement is what is said for a change of a device, to which others may have to
// agree.
type agreement struct {
	reason     string
	breakGlass bool
}

func reasonFlag() cli.Flag {
	return &cli.StringFlag{Name: "reason", Usage: "why, for those who have to approve it"}
}

func breakGlassFlag() cli.Flag {
	return &cli.BoolFlag{Name: "break-glass", Usage: "do without the others, if the policy in force lets you; somebody else has to review it"}
}

// agreementOf reads the flags, and asks before glass is broken for a device.
func agreementOf(c *cli.Context, device string) (agreement, error) {
	a := agreement{c.String("reason"), c.Bool("break-glass")}
	switch {
	case !a.breakGlass:
		return a, nil
	case a.reason == "":
		return a, usage("--break-glass: say why this can't wait, with --reason")
	}
	return a, confirm(c, "break the glass, without asking the others, for", device)
}

// query is the agreement as a request carries it; empty when nothing is said.
func (a agreement) query() string {
	q := url.Values{}
	if a.reason != "" {
		q.Set("reason", a.reason)
	}
	if a.breakGlass {
		q.Set("break_glass", "true")
	}
	return q.Encode()
}

// in puts the agreement behind a path that may have a query.
func (a agreement) in(path string) string {
	u, err := url.Parse(path)
	if q := a.query(); err == nil && q != "" {
		if u.RawQuery != "" {
			q = u.RawQuery + "&" + q
		}
		u.RawQuery = q
		return u.String()
	}
	return path
}
