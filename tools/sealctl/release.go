package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func releaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "release",
		Usage:     "propose what became of a use whose barrel is lost; another administrator confirms",
		ArgsUsage: "USE",
		Flags: []cli.Flag{
			&cli.UintFlag{Name: "stamped", Usage: "`N` stampings count as made, the rest goes back to the order; without it all of them count"},
			&cli.StringFlag{Name: "reason", Usage: "what happened to the barrel; it goes into the audit chain", Required: true},
		},
		Action: useRelease,
	}
}

func confirmReleaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "confirm-release",
		Usage:     "release a use as another administrator proposed",
		ArgsUsage: "USE",
		Action:    useConfirmRelease,
	}
}

// useNamed finds the use that the command names.
func useNamed(c *cli.Context, cl *client) (u adminapi.Use, id string, err error) {
	a, err := arguments(c, "USE")
	if err != nil {
		return u, "", err
	}
	return u, a[0], cl.call(c.Context, http.MethodGet, "/v1/uses/"+url.PathEscape(a[0]), nil, &u)
}

// account tells in words what a use is and what its release would do.
func account(c *cli.Context, u adminapi.Use, stamped uint32) {
	w := c.App.ErrWriter
	fmt.Fprintf(w, "use %d of order %s: %d stampings with barrel %s, by %s at %s; %d are known; it is %s\n", u.ID, u.Order, u.Count, u.Barrel, u.User, u.IMSI, u.Confirmed, u.State)
	fmt.Fprintf(w, "the grant ends %s\n", u.NotAfter.Format(time.RFC3339))
	fmt.Fprintf(w, "to release it: %d count as stamped, %d go back to the order\n", stamped, u.Count-min(stamped, u.Count))
	fmt.Fprintln(w, "should the barrel turn up with a higher count, that is counted and the order suspended")
}

func useRelease(c *cli.Context) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	u, id, err := useNamed(c, cl)
	if err != nil {
		return err
	}
	stamped := u.Count
	if c.IsSet("stamped") {
		if c.Uint("stamped") > uint(u.Count) {
			return usage(fmt.Sprintf("--stamped %d: the use is of %d", c.Uint("stamped"), u.Count))
		}
		stamped = uint32(c.Uint("stamped"))
	}
	account(c, u, stamped)
	var out adminapi.Use
	if err := cl.call(c.Context, http.MethodPost, "/v1/uses/"+id+"/release", adminapi.ReleaseUse{Stamped: &stamped, Reason: c.String("reason")}, &out); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "this is proposed; another seal administrator has until %s to say: sealctl use confirm-release %s\n", out.Release.Until.Format(time.RFC3339), id)
	return nil
}

func useConfirmRelease(c *cli.Context) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	u, id, err := useNamed(c, cl)
	if err != nil {
		return err
	}
	r := u.Release
	if r == nil {
		return &hinted{exitConflict, "no release of use " + id + " is proposed", "propose it with 'sealctl use release " + id + " --reason ...'; then another administrator confirms"}
	}
	account(c, u, r.Stamped)
	fmt.Fprintf(c.App.ErrWriter, "%s proposed it at %s, because: %s\n", r.ProposedBy, r.Proposed.Format(time.RFC3339), r.Reason)
	if err := confirm(c, "release use", id); err != nil {
		return err
	}
	var out adminapi.Use
	if err := cl.call(c.Context, http.MethodPost, "/v1/uses/"+id+"/release/confirm", adminapi.ConfirmRelease{Stamped: r.Stamped, ProposedBy: r.ProposedBy}, &out); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "use %s is released: %d stampings count, %d went back to %s\n", id, out.Confirmed, out.Refunded, out.Order)
	return nil
}
