package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func fallbackKeys(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := all[adminapi.FallbackKey](c, "/v1/fallback/keys")
	if err != nil {
		return err
	}
	return showKeys(c, list, list)
}

func showKeys[T any](c *cli.Context, v T, list []adminapi.FallbackKey) error {
	var rows [][]string
	for _, k := range list {
		until := "it is replaced"
		if !k.Until.IsZero() {
			until = stamp(k.Until)
		}
		rows = append(rows, []string{k.PublicKey, stamp(k.Since), until, k.By})
	}
	return show(c, v, []string{"KEY", "SINCE", "GOOD UNTIL", "BY"}, rows)
}

// span reads a time of at most a year: 12h, 90d, or 0.
func span(flag, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < 0 || d > 366*24*time.Hour || d%time.Second != 0 {
		return 0, usage(fmt.Sprintf("--%s %q is no time in whole seconds, such as 24h or 30d, up to 366d", flag, text))
	}
	return d, nil
}

func fallbackRotate(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	overlap, err := span("overlap", c.String("overlap"))
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	cl.stale = false
	keys, err := allOf[adminapi.FallbackKey](c.Context, cl, "/v1/fallback/keys")
	if err != nil {
		return err
	}
	ask := adminapi.RotateFallbackKey{OverlapSeconds: uint32(overlap.Seconds())}
	if len(keys) > 0 {
		ask.Replaces = keys[0].PublicKey
		if overlap == 0 {
			if err := confirm(c, "cut off every client that has only the key", ask.Replaces); err != nil {
				return err
			}
		}
	}
	var made adminapi.FallbackKey
	if err := cl.call(c.Context, http.MethodPost, "/v1/fallback/keys/rotate", ask, &made); err != nil {
		return err
	}
	if ask.Replaces != "" && overlap > 0 {
		fmt.Fprintf(c.App.ErrWriter, "clients that know the key before have %s to take the new one\n", overlap)
	}
	leases, err := allOf[adminapi.FallbackLease](c.Context, cl, "/v1/fallback/leases")
	if err != nil {
		return err
	}
	if n := len(slices.DeleteFunc(leases, func(l adminapi.FallbackLease) bool { return !l.ByHand })); n > 0 {
		fmt.Fprintf(c.App.ErrWriter, "%d leases were issued by hand: those clients need a new file from 'sealctl fallback issue'\n", n)
	}
	return showKeys(c, made, []adminapi.FallbackKey{made})
}

func fallbackRetire(c *cli.Context) error {
	a, err := arguments(c, "KEY")
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(a[0])
	if err != nil || len(raw) != 32 {
		return usage(fmt.Sprintf("%q is no key as 'sealctl fallback keys' shows it", a[0]))
	}
	if err := confirm(c, "retire the key", a[0]); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var gone adminapi.FallbackKey
	if err := cl.call(c.Context, http.MethodDelete, "/v1/fallback/keys/"+hex.EncodeToString(raw)+"?reason="+url.QueryEscape(c.String("reason")), nil, &gone); err != nil {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, "key "+gone.PublicKey+" is retired")
	return nil
}
