package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// aboutFlags say what an entry is about.
func aboutFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "order", Usage: "about work order `NUMBER`"},
		&cli.StringFlag{Name: "device", Usage: "about terminal or barrel `ID`: IMSI, MSISDN, IMEI, MAC address, barrel"},
		&cli.StringFlag{Name: "person", Usage: "by or about operator or user `NAME`"},
		&cli.StringFlag{Name: "type", Usage: "of `TYPE`, such as RESERVE_USES"},
	}
}

// aboutQuery is what they ask the gateway for.
func aboutQuery(c *cli.Context) url.Values {
	q := url.Values{}
	for _, name := range []string{"order", "device", "person", "type"} {
		if v := c.String(name); v != "" {
			q.Set(name, v)
		}
	}
	return q
}

func auditSearch(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	q := aboutQuery(c)
	for _, name := range []string{"since", "until"} {
		text := c.String(name)
		if text == "" {
			continue
		}
		at, err := parseTime(text, time.Now())
		if err != nil {
			return usage(fmt.Sprintf("--%s: %v", name, err))
		}
		q.Set(name, at.UTC().Format(time.RFC3339))
	}
	for _, name := range []string{"from", "to"} {
		if n := c.Uint64(name); n != 0 {
			q.Set(name, strconv.FormatUint(n, 10))
		}
	}
	if c.Bool("newest") {
		q.Set("newest", "true")
	}
	limit := c.Int("limit")
	if limit < 1 {
		return usage("--limit: it is at least 1")
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	lines, more, err := searchAudit(c, cl, q, limit)
	if err != nil {
		return err
	}
	if err := showAudit(c, lines); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(c.App.ErrWriter, "there are more: these are the first %d; see the others with a higher --limit, or narrow it down\n", limit)
	}
	return nil
}

// searchAudit follows the pages until there are limit entries, or all. more tells
// that there are others.
func searchAudit(c *cli.Context, cl *client, q url.Values, limit int) (lines []adminapi.AuditLine, more bool, err error) {
	lines = []adminapi.AuditLine{}
	for {
		q.Set("limit", strconv.Itoa(min(limit-len(lines), adminapi.MaxLimit)))
		var page adminapi.List[adminapi.AuditLine]
		if err := cl.call(c.Context, http.MethodGet, "/v1/audit?"+q.Encode(), nil, &page); err != nil {
			return nil, false, err
		}
		lines = append(lines, page.Items...)
		if page.Next == "" || len(lines) >= limit {
			return lines, page.Next != "", nil
		}
		q.Set("after", page.Next)
	}
}

// parseTime reads a time, a day in this place, or how long ago it was.
func parseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return t, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time such as 2026-11-22T08:00:00Z, no day such as 2026-11-22, and not how long ago it was, such as 36h", text)
}

var auditHeader = []string{"ENTRY", "TIME", "WORDS"}

func auditRow(l adminapi.AuditLine) []string {
	return []string{strconv.FormatUint(l.Sequence, 10), l.Time.Format(time.RFC3339), l.Words}
}

func showAudit(c *cli.Context, lines []adminapi.AuditLine) error {
	var rows [][]string
	for _, l := range lines {
		rows = append(rows, auditRow(l))
	}
	return show(c, lines, auditHeader, rows)
}

func auditTail(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.Int("n") < 0 {
		return usage("-n: it is a number of entries")
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	if c.Bool("follow") {
		return followAudit(c, cl)
	}
	lines, err := newestAudit(c, cl)
	if err != nil {
		return err
	}
	return showAudit(c, lines)
}

// newestAudit is the end of the chain, the oldest first.
func newestAudit(c *cli.Context, cl *client) ([]adminapi.AuditLine, error) {
	if c.Int("n") == 0 {
		return []adminapi.AuditLine{}, nil
	}
	q := aboutQuery(c)
	q.Set("newest", "true")
	lines, _, err := searchAudit(c, cl, q, c.Int("n"))
	slices.Reverse(lines)
	return lines, err
}

func auditShow(c *cli.Context) error {
	a, err := arguments(c, "NUMBER")
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(a[0], 10, 64); err != nil || n == 0 {
		return usage(fmt.Sprintf("%q is no entry's number; the first is 1", a[0]))
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	lines, _, err := searchAudit(c, cl, url.Values{"from": a[:1], "to": a[:1]}, 1)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return &hinted{exitDenied, "there is no entry " + a[0] + " yet", "'sealctl audit head' says which is the last"}
	}
	l := lines[0]
	if err := said(l); err != nil {
		return err
	}
	var detail map[string]json.RawMessage
	if err := json.Unmarshal(l.Detail, &detail); err != nil {
		return err
	}
	rows := [][]string{
		{"entry", strconv.FormatUint(l.Sequence, 10)},
		{"time", l.Time.Format(time.RFC3339Nano)},
		{"words", l.Words},
		{"type", l.Type},
		{"actor", l.Actor},
		{"result", l.Code},
		{"message", l.Message},
	}
	for _, k := range sortedKeys(detail) {
		rows = append(rows, []string{"detail." + k, string(detail[k])})
	}
	rows = append(rows, []string{"index", strconv.FormatUint(l.Index, 10)}, []string{"term", strconv.FormatUint(l.Term, 10)}, []string{"previous", l.PrevHash}, []string{"hash", l.Hash})
	return show(c, l, []string{"FIELD", "VALUE"}, rows)
}

// said refuses a line whose readable fields are not what its hashed bytes say.
func said(l adminapi.AuditLine) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := adminapi.ParseAuditLine(b); err != nil {
		return &hinted{exitVerification, err.Error(), "ask another node, and compare: this one doesn't say what its chain has"}
	}
	return nil
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
