package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/rivo/uniseg"
	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

func watchFlag() cli.Flag {
	return &cli.BoolFlag{Name: "watch", Usage: "go on with what changes, until it is interrupted; in JSON an event a line"}
}

// watched is a list that is followed.
type watched[T any] struct {
	kind   string // as the gateway names it
	event  string // that a record is new or changed
	gone   string // that it is no more; empty: it stays for ever
	header []string
	row    func(T) []string
	id     func(T) uint64            // of those that can go
	ended  func(row []string) string // what to say of one that went
}

// follow shows the list, then each record that changes, until it is interrupted.
// When a node goes it goes on at another.
func (l *watched[T]) follow(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	cl.http.Timeout = 0 // it takes as long as it takes
	v := &watching[T]{list: l, c: c, known: map[uint64][]string{}}
	for at := ""; ; {
		resp, err := cl.do(c.Context, http.MethodGet, "/v1/watch?"+url.Values{"kinds": {l.kind}, "after": {at}}.Encode(), nil)
		if err == nil {
			err = readEvents(resp.Body, func(event, id string, data []byte) error {
				if event == adminapi.EventAt {
					at = id
				}
				return v.take(event, data)
			})
			resp.Body.Close()
		}
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

// watching is a list on somebody's screen.
type watching[T any] struct {
	list   *watched[T]
	c      *cli.Context
	known  map[uint64][]string // rows of those that can go
	rows   [][]string          // of the round that is under way
	widths []int
	whole  bool // the round has all records
}

func (v *watching[T]) take(event string, data []byte) error {
	if v.c.String("output") != "table" {
		return v.print(event, data)
	}
	w := v.c.App.ErrWriter
	switch event {
	case adminapi.EventReset:
		if v.widths != nil {
			fmt.Fprintln(w, "too much happened meanwhile; the list once more:")
		}
		v.rows, v.whole = nil, true
		clear(v.known)
	case v.list.event:
		var r T
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("a record cannot be read: %w", err)
		}
		row := v.list.row(r)
		v.rows = append(v.rows, row)
		if v.list.id != nil {
			v.known[v.list.id(r)] = row
		}
	case v.list.gone:
		var e adminapi.SessionEnded
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("an event cannot be read: %w", err)
		}
		v.flush()
		fmt.Fprintln(v.c.App.Writer, v.list.ended(append(v.known[e.ID], make([]string, len(v.list.header))...)))
		delete(v.known, e.ID)
	case adminapi.EventAt:
		v.flush()
	}
	return v.aside(event, data)
}

// aside says what concerns the watch itself.
func (v *watching[T]) aside(event string, data []byte) error {
	switch event {
	case adminapi.EventStale:
		fmt.Fprintln(v.c.App.ErrWriter, "the node has lost sight of the others: what follows may come late")
	case adminapi.EventFresh:
		fmt.Fprintln(v.c.App.ErrWriter, "the node sees the others again")
	case adminapi.EventEnd:
		p := new(wire.Problem)
		if err := json.Unmarshal(data, p); err != nil {
			return fmt.Errorf("the gateway ended it: %s", data)
		}
		return p
	}
	return nil
}

// print writes an event as it came.
func (v *watching[T]) print(event string, data []byte) error {
	switch event {
	case adminapi.EventReset, v.list.event, v.list.gone:
		line := struct {
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data"`
		}{event, data}
		if v.c.String("output") == "yaml" {
			fmt.Fprintln(v.c.App.Writer, "---")
			return writeYAML(v.c.App.Writer, line)
		}
		return json.NewEncoder(v.c.App.Writer).Encode(line)
	}
	return v.aside(event, data)
}

// flush writes the rows so far, below the header when they are all there are.
func (v *watching[T]) flush() {
	rows := v.rows
	if v.whole {
		rows = append([][]string{v.list.header}, rows...)
		v.widths = make([]int, len(v.list.header))
	}
	s := screenOf(v.c.App.Writer)
	out := bufio.NewWriter(v.c.App.Writer)
	for _, r := range rows {
		for i := range r {
			if r[i] = clean(r[i]); r[i] == "" {
				r[i] = emptyCell
			}
			v.widths[i] = max(v.widths[i], uniseg.StringWidth(r[i]))
		}
	}
	if s.terminal && s.width > 0 {
		fit(v.list.header, v.widths, s.width)
	}
	for n, r := range rows {
		writeRow(out, s, v.list.header, r, v.widths, v.whole && n == 0)
	}
	_ = out.Flush() // a reader that is gone is told by the next write
	v.rows, v.whole = nil, false
}
