package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "what programs of yours authenticate with",
		Subcommands: []*cli.Command{
			{
				Name: "issue", Usage: "issue a token for yourself; it takes your certificate",
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "role", Usage: "`ROLE` of yours that the token needs; may be repeated", Required: true},
					&cli.StringFlag{Name: "for", Usage: "`TIME` that it is valid, such as 12h or 90d; a year at most", Required: true},
					&cli.StringFlag{Name: "label", Usage: "what people call it"},
					&cli.StringFlag{Name: "file", Usage: "new `FILE` for the token, that only you can read; without it the token goes to standard output"},
				},
				Description: "Whoever has the token acts as you, with the roles that you give it. It is shown once and kept nowhere.\n" +
					"A program uses it by --token FILE, SEALCTL_TOKEN or a context. What asks for your signature takes no token.",
				Action: tokenIssue,
			},
			{
				Name: "list", Usage: "list your tokens; seal administrators and auditors see everybody's",
				Action: tokenList,
			},
			{Name: "revoke", Usage: "revoke a token at once", ArgsUsage: "ID", Action: tokenRevoke},
		},
	}
}

// lifetime reads 12h, and 90d, which time.ParseDuration doesn't know.
func lifetime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < time.Second || d > 366*24*time.Hour {
		return 0, usage(fmt.Sprintf("--for %q is no time from 1s to 366d", text))
	}
	return d, nil
}

func tokenIssue(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	valid, err := lifetime(c.String("for"))
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	// The file comes first: a token that can't be kept isn't issued.
	var f *os.File
	name := c.String("file")
	if name != "" {
		if f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return &hinted{exitUsage, err.Error(), "name a file that isn't there yet; nothing was issued"}
		}
		defer f.Close()
	}
	var out adminapi.IssuedToken
	ask := adminapi.IssueToken{Label: c.String("label"), Roles: c.StringSlice("role"), LifetimeSeconds: uint32(valid.Seconds())}
	if err := cl.call(c.Context, http.MethodPost, "/v1/tokens", ask, &out); err != nil {
		if f != nil {
			_ = os.Remove(name) // it is empty
		}
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "token %s acts as %s until %s\n", out.Token.ID, out.Token.Owner, out.Token.Expires.Format(time.RFC3339))
	if f != nil {
		_, err := fmt.Fprintln(f, out.Bearer)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return &hinted{exitFailed, err.Error(), "revoke it with 'sealctl token revoke " + out.Token.ID + "': what was written is no whole token"}
		}
		return nil
	}
	if c.String("output") != "table" {
		return show(c, out, nil, nil)
	}
	fmt.Fprintln(c.App.Writer, out.Bearer)
	return nil
}

func tokenList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := all[adminapi.Token](c, "/v1/tokens")
	if err != nil {
		return err
	}
	return showTokens(c, list, list)
}

func showTokens[T any](c *cli.Context, v T, list []adminapi.Token) error {
	var rows [][]string
	for _, t := range list {
		rows = append(rows, []string{t.ID, t.Owner, strings.Join(t.Roles, ","), t.Issued.Format(time.RFC3339), t.Expires.Format(time.RFC3339), t.Label})
	}
	return show(c, v, []string{"TOKEN", "OWNER", "ROLES", "ISSUED", "EXPIRES", "LABEL"}, rows)
}

func tokenRevoke(c *cli.Context) error {
	a, err := arguments(c, "ID")
	if err != nil {
		return err
	}
	id, _, secret := strings.Cut(a[0], ".")
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var out adminapi.Token
	if err := cl.call(c.Context, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, &out); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "token %s of %s is revoked\n", out.ID, out.Owner)
	if secret {
		fmt.Fprintln(c.App.ErrWriter, "the part before the dot is enough: the rest is secret, and your shell may have kept it")
	}
	return nil
}
