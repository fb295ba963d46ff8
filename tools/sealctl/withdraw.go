package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// withdrawCommands take devices out of service, and back.
func withdrawCommands() []*cli.Command {
	why := &cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain", Required: true}
	wait := &cli.DurationFlag{Name: "wait", Usage: "`TIME` to watch what comes of it, at most 10s", Value: 2 * time.Second}
	return []*cli.Command{
		{
			Name: "revoke", Usage: "revoke a terminal or a barrel for ever, at once", ArgsUsage: "IMSI|BARREL", Flags: []cli.Flag{why, wait}, Action: deviceRevoke,
			Description: withExamples("One person is enough. Sessions and uses end, barrels lock, and it says how many milliseconds each took.",
				"sealctl device revoke 460010000000001 --reason 'lost in a taxi'", "sealctl device revoke SB-0001 --reason 'broken open' --yes"),
		},
		{
			Name: "suspend", Usage: "take a terminal or a barrel out of service, at once", ArgsUsage: "IMSI|BARREL", Flags: []cli.Flag{why, wait}, Action: deviceSuspend,
			Description: withExamples("Like revoke, but 'device resume' takes it back. Editing or importing the device does not.",
				"sealctl device suspend 460010000000001 --reason 'not found since lunch'"),
		},
		{
			Name: "resume", Usage: "take a suspension back", ArgsUsage: "IMSI|BARREL", Flags: []cli.Flag{why, breakGlassFlag()}, Action: deviceResume,
			Description: withExamples("Sessions that it ended stay ended; the terminal attaches again by itself.", "sealctl device resume 460010000000001 --reason 'it was in the other coat'"),
		},
	}
}

// devicePath is where the API has a terminal or a barrel.
func devicePath(name string) string {
	kind := "barrels"
	if _, err := strconv.ParseUint(name, 10, 64); err == nil && len(name) >= 6 {
		kind = "terminals"
	}
	return "/v1/" + kind + "/" + url.PathEscape(name)
}

func deviceRevoke(c *cli.Context) error {
	a, err := arguments(c, "IMSI|BARREL")
	if err != nil {
		return err
	}
	if err := confirm(c, "revoke for ever", a[0]); err != nil {
		return err
	}
	return withdraw(c, a[0], "revoke")
}

func deviceSuspend(c *cli.Context) error {
	a, err := arguments(c, "IMSI|BARREL")
	if err != nil {
		return err
	}
	return withdraw(c, a[0], "suspend")
}

func withdraw(c *cli.Context, name, verb string) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var out adminapi.Revoked
	path := devicePath(name) + "/" + verb + "?wait=" + url.QueryEscape(c.Duration("wait").String())
	if err := cl.call(c.Context, http.MethodPost, path, adminapi.Reason{Reason: c.String("reason")}, &out); err != nil {
		return err
	}
	if err := show(c, out, []string{"SESSIONS ENDED", "USES STOPPED", "LOCKS SENT", "COMMITTED", "TUNNEL DOWN", "CARRIER", "LOCKED"}, [][]string{{
		strconv.Itoa(len(out.Sessions)), strconv.Itoa(len(out.Uses)), strconv.Itoa(len(out.Locks)),
		millis(&out.Timing.Committed), millis(out.Timing.TunnelsDown), millis(out.Timing.CarrierAnswered), millis(out.Timing.Locked),
	}}); err != nil {
		return err
	}
	if t := out.Timing; len(t.Unlocked) > 0 {
		fmt.Fprintf(c.App.ErrWriter, "%s: told to lock and not heard of yet; by itself it locks %g s after its last heartbeat\n", strings.Join(t.Unlocked, ", "), t.LeaseSeconds)
	}
	if t := out.Timing; len(t.Elsewhere) > 0 {
		fmt.Fprintf(c.App.ErrWriter, "the tunnels end at %s, which knows more\n", strings.Join(t.Elsewhere, ", "))
	}
	return nil
}

// millis writes a time in milliseconds; nil is not known.
func millis(ms *float64) string {
	if ms == nil {
		return ""
	}
	return strconv.FormatFloat(*ms, 'f', 1, 64) + " ms"
}

func deviceResume(c *cli.Context) error {
	a, err := arguments(c, "IMSI|BARREL")
	if err != nil {
		return err
	}
	by, err := agreementOf(c, a[0])
	if err != nil {
		return err
	}
	return post(c, by.in(devicePath(a[0])+"/resume"), adminapi.Reason{Reason: c.String("reason")}, a[0]+" is resumed")
}
