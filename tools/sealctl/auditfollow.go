package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// followAudit shows the end of the chain, and then what comes, until it is
// interrupted. When a node goes it goes on at another, without a gap.
func followAudit(c *cli.Context, cl *client) error {
	wanted := chain.Query{Order: c.String("order"), Device: c.String("device"), Person: c.String("person")}
	if text := c.String("type"); text != "" {
		n, ok := command.Type_value[strings.ToUpper(strings.ReplaceAll(text, "-", "_"))]
		if !ok {
			return usage(fmt.Sprintf("--type: there are no entries of type %q; it is one such as RESERVE_USES", text))
		}
		wanted.Type = command.Type(n)
	}
	var head adminapi.AuditHead
	if err := cl.call(c.Context, http.MethodGet, "/v1/audit/head", nil, &head); err != nil {
		return err
	}
	out := &auditPrinter{c: c}
	if c.Int("n") > 0 {
		q := aboutQuery(c)
		q.Set("newest", "true")
		q.Set("to", strconv.FormatUint(head.Sequence, 10))
		lines, _, err := searchAudit(c, cl, q, c.Int("n"))
		if err != nil {
			return err
		}
		for _, l := range slices.Backward(lines) {
			if err := out.print(l); err != nil {
				return err
			}
		}
	}
	at := strconv.FormatUint(head.Sequence, 10)
	for {
		err := watchAudit(c.Context, cl, &at, func(l adminapi.AuditLine) error {
			line, read, err := reread(l)
			if err != nil {
				return err
			}
			if !wanted.Matches(read) {
				return nil
			}
			return out.print(line)
		})
		if c.Context.Err() != nil {
			return nil // interrupted
		}
		if err != nil {
			return err
		}
		select { // the node closed the connection
		case <-c.Context.Done():
		case <-time.After(firstPause):
		}
	}
}

// reread draws a line anew from its hashed bytes, in words.
func reread(l adminapi.AuditLine) (adminapi.AuditLine, *chain.Entry, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return l, nil, err
	}
	e, err := adminapi.ParseAuditLine(b)
	if err != nil {
		return l, nil, &hinted{exitVerification, err.Error(), "ask another node, and compare: this one doesn't say what its chain has"}
	}
	if l, err = adminapi.AuditLineInWords(e); err != nil {
		return l, nil, err
	}
	read, err := chain.Read(e)
	return l, read, err
}

// watchAudit calls fn with the entries that come after at, which it moves on, until
// the connection ends.
func watchAudit(ctx context.Context, cl *client, at *string, fn func(adminapi.AuditLine) error) error {
	resp, err := cl.do(ctx, http.MethodGet, "/v1/watch?"+url.Values{"kinds": {adminapi.WatchAudit}, "after": {*at}}.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readEvents(resp.Body, func(event, id string, data []byte) error {
		switch event {
		case adminapi.EventAudit:
			var l adminapi.AuditLine
			if err := json.Unmarshal(data, &l); err != nil {
				return fmt.Errorf("an entry cannot be read: %w", err)
			}
			if err := fn(l); err != nil {
				return err
			}
			*at = strconv.FormatUint(l.Sequence, 10)
		case adminapi.EventAt:
			*at = id
		case adminapi.EventEnd:
			p := new(wire.Problem)
			if err := json.Unmarshal(data, p); err != nil {
				return fmt.Errorf("the gateway ended it: %s", data)
			}
			return p
		case adminapi.EventStale:
			fmt.Fprintln(cl.stderr, "the node has lost sight of the others: what follows may come late")
		case adminapi.EventFresh:
			fmt.Fprintln(cl.stderr, "the node sees the others again")
		}
		return nil
	})
}

// readEvents reads server-sent events (HTML 9.2.6). A connection that ends is no
// error: whoever watches comes back.
func readEvents(r io.Reader, fn func(event, id string, data []byte) error) error {
	lines := bufio.NewReader(r)
	var event, id string
	var data []byte
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil
		}
		line = strings.TrimRight(line, "\r\n")
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if event != "" || data != nil {
				if err := fn(event, id, data); err != nil {
					return err
				}
			}
			event, id, data = "", "", nil
		case field == "event":
			event = value
		case field == "id":
			id = value
		case field == "data" && data == nil:
			data = []byte(value)
		case field == "data":
			data = append(append(data, '\n'), value...)
		}
	}
}

// auditPrinter writes entries as they come: a line each, in YAML a document.
type auditPrinter struct{ c *cli.Context }

func (p *auditPrinter) print(l adminapi.AuditLine) error {
	w := p.c.App.Writer
	switch p.c.String("output") {
	case "json":
		return json.NewEncoder(w).Encode(l)
	case "yaml":
		_, err := io.WriteString(w, "---\n")
		return errors.Join(err, writeYAML(w, l))
	}
	row := auditRow(l)
	_, err := fmt.Fprintf(w, "%-8s  %-20s  %s\n", row[0], row[1], clean(row[2]))
	return err
}
