package main

import (
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

// orderAccount is an order with its uses, the oldest first.
type orderAccount struct {
	adminapi.Order
	Uses []adminapi.Use `json:"uses"`
}

func orderShow(c *cli.Context) error {
	a, err := arguments(c, "ORDER")
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	orders, err := allOf[adminapi.Order](c.Context, cl, "/v1/orders?number="+url.QueryEscape(a[0]))
	if err != nil {
		return err
	}
	if len(orders) == 0 {
		return &hinted{exitDenied, "the ledger has no order " + a[0], "an order is in it from its first use on; those that wait are the seal server's"}
	}
	o := orderAccount{Order: orders[0]}
	if o.Uses, err = allOf[adminapi.Use](c.Context, cl, "/v1/uses?order="+url.QueryEscape(a[0])); err != nil {
		return err
	}
	rows := [][]string{
		{"order", o.Number},
		{"state", o.State},
		{"reason", o.Reason},
		{"seal", o.SealType},
		{"permitted", count(o.Permitted)},
		{"reserved", count(o.Reserved)},
		{"confirmed", count(o.Confirmed)},
		{"left", count(o.Left)},
		{"excess", strconv.FormatUint(o.Excess, 10)},
		{"from", stamp(o.NotBefore)},
		{"until", stamp(o.NotAfter)},
	}
	for _, u := range o.Uses {
		rows = append(rows, []string{"use " + strconv.FormatUint(u.ID, 10), fmt.Sprintf("%s: %d of %d stamped with %s by %s at %s", u.State, u.Confirmed, u.Count, u.Barrel, u.User, stamp(u.ReservedAt))})
	}
	return show(c, o, []string{"FIELD", "VALUE"}, rows)
}

func useShow(c *cli.Context) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	u, id, err := useNamed(c, cl)
	if err != nil {
		return err
	}
	rows := [][]string{
		{"use", id},
		{"order", u.Order},
		{"barrel", u.Barrel},
		{"seal", u.SealType},
		{"terminal", u.IMSI},
		{"user", u.User},
		{"level", count(u.Level)},
		{"methods", strings.Join(u.Methods, ",")},
		{"state", u.State},
		{"reason", u.Reason},
		{"reserved", fmt.Sprintf("%d at %s, until %s", u.Count, stamp(u.ReservedAt), stamp(u.NotAfter))},
		{"confirmed", count(u.Confirmed)},
		{"given back", count(u.Refunded)},
	}
	for _, s := range u.Stamps {
		image := "image due " + stamp(s.EvidenceDue)
		switch {
		case s.EvidenceSHA256 != "":
			image = fmt.Sprintf("image of %d bytes, SHA-256 %s", s.EvidenceSize, s.EvidenceSHA256)
		case s.Overdue:
			image += ", overdue"
		}
		rows = append(rows, []string{"stamping " + count(s.Number), fmt.Sprintf("recorded %s, %s", stamp(s.Recorded), image)})
	}
	if r := u.Release; r != nil {
		rows = append(rows, []string{"release", fmt.Sprintf("%d count as stamped, proposed by %s at %s: %s", r.Stamped, r.ProposedBy, stamp(r.Proposed), r.Reason)})
		if r.ConfirmedBy != "" {
			rows = append(rows, []string{"released", fmt.Sprintf("by %s at %s", r.ConfirmedBy, stamp(r.Confirmed))})
		}
	}
	return show(c, u, []string{"FIELD", "VALUE"}, rows)
}

func sessionShow(c *cli.Context) error {
	a, err := arguments(c, "ID")
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var s adminapi.Session
	if err := cl.call(c.Context, http.MethodGet, "/v1/sessions/"+url.PathEscape(a[0]), nil, &s); err != nil {
		return err
	}
	return show(c, s, []string{"FIELD", "VALUE"}, [][]string{
		{"session", a[0]},
		{"terminal", s.IMSI},
		{"number", s.MSISDN},
		{"handset", s.IMEI},
		{"access point", s.APN},
		{"type", s.PDNType},
		{"address", s.Address},
		{"prefix", s.Prefix6},
		{"active path", s.Path},
		{"on it since", stamp(s.PathSince)},
		{"paths", strings.Join(s.Paths, ",")},
		{"heard from", s.Endpoint},
		{"fallback lease", leaseText(s)},
		{"protocol", s.Protocol},
		{"suspended", yes(s.Suspended)},
		{"peer", s.Peer},
		{"radio access", s.RAT},
		{"serving network", s.ServingPLMN},
		{"gateway address", s.GatewayAddress},
		{"opened", stamp(s.Opened)},
	})
}

// leaseText is what a session has the fallback path by; empty: it hasn't.
func leaseText(s adminapi.Session) string {
	switch {
	case s.Lease != 0:
		return strconv.FormatUint(s.Lease, 10)
	case slices.Contains(s.Paths, "wireguard"):
		return "none: its key alone"
	}
	return ""
}

// stamp is a time for people; empty for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}
