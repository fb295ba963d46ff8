package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

func traceCommand() *cli.Command {
	return &cli.Command{
		Name: "trace", Usage: "write the carrier's signalling of one subscriber to a file for Wireshark", ArgsUsage: "imsi=IMSI", Action: trace,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "write", Aliases: []string{"w"}, Usage: "`FILE` to make (pcapng); - for standard output", Required: true},
			&cli.DurationFlag{Name: "for", Usage: "`TIME` to go on", Value: 10 * time.Minute},
			&cli.IntFlag{Name: "bytes", Usage: "`NUMBER` of bytes at most", Value: 16 << 20},
		},
		Description: "Each message has the gateway's decision as its comment. The trace follows the gateway address from node to node;\n" +
			"what is said while it moves is missing. It ends with its time, its size or an interrupt. Who traced whom stands in the audit chain.",
	}
}

func trace(c *cli.Context) error {
	a, err := arguments(c, "imsi=IMSI")
	if err != nil {
		return err
	}
	imsi, ok := strings.CutPrefix(a[0], "imsi=")
	if !ok {
		return usage(fmt.Sprintf("%q names no subscriber; write imsi=IMSI", a[0]))
	}
	if c.Duration("for") < time.Second || c.Int("bytes") <= 0 {
		return usage("a trace takes a second and a byte at least")
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	cl.http.Timeout = 0 // it takes as long as it takes
	out := io.Writer(c.App.Writer)
	if name := c.String("write"); name != "-" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // it says where somebody is
		if err != nil {
			return &hinted{exitUsage, fmt.Sprintf("the file cannot be made: %v", err), "name one that isn't there yet"}
		}
		defer f.Close()
		out = f
	}
	t := tracing{client: cl, imsi: imsi, out: out, until: time.Now().Add(c.Duration("for")), bytes: int64(c.Int("bytes"))}
	err = t.run(c.Context)
	fmt.Fprintf(c.App.ErrWriter, "%d messages of %s\n", t.messages, imsi)
	return err
}

// tracing is one trace, over as many nodes as it takes.
type tracing struct {
	client   *client
	imsi     string
	out      io.Writer
	until    time.Time
	bytes    int64 // that may come yet
	messages int
	begun    bool
}

// betweenNodes is how long nobody is asked while no node holds the address.
const betweenNodes = 300 * time.Millisecond

func (t *tracing) run(ctx context.Context) error {
	for {
		err := t.once(ctx)
		switch {
		case ctx.Err() != nil || time.Until(t.until) < time.Second || t.bytes <= 0:
			return nil
		case err != nil && (!t.begun || !movable(err)):
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenNodes):
		}
	}
}

// movable tells whether an error may pass when another node holds the address.
func movable(err error) bool {
	var p *wire.Problem
	return !errors.As(err, &p) || p.Code == "not-holder" || p.Code == wire.CodeNoQuorum || p.Code == wire.CodeOutcomeUnknown
}

// once follows on the node that holds the address, until it doesn't any more.
func (t *tracing) once(ctx context.Context) error {
	var last error
	for _, addr := range t.client.addresses {
		one := t.client.at(addr).once() // run asks again
		left := int64(time.Until(t.until).Seconds())
		resp, err := one.do(ctx, http.MethodGet, "/v1/trace?imsi="+url.QueryEscape(t.imsi)+
			"&seconds="+strconv.FormatInt(max(left, 1), 10)+"&bytes="+strconv.FormatInt(t.bytes, 10), nil)
		if err != nil {
			if last = err; !movable(err) {
				return err
			}
			continue
		}
		t.begun = true
		err = t.blocks(resp.Body)
		resp.Body.Close()
		return err
	}
	return last
}

// blocks copies whole blocks, so that a stream which breaks off leaves a file
// that another section can follow.
func (t *tracing) blocks(r io.Reader) error {
	const enhancedPacket = 6
	in := bufio.NewReader(r)
	for {
		head, err := in.Peek(8)
		if err != nil {
			return nil // the end, wherever it came
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		if size < 12 || size > 1<<20 {
			return fmt.Errorf("the node sent a block of %d bytes: no capture", size)
		}
		block := make([]byte, size)
		kind := binary.LittleEndian.Uint32(head)
		if _, err := io.ReadFull(in, block); err != nil {
			return nil
		}
		if _, err := t.out.Write(block); err != nil {
			return fmt.Errorf("the trace cannot be written: %w", err)
		}
		t.bytes -= size
		if kind == enhancedPacket {
			t.messages++
		}
	}
}

func proceduresCommand() *cli.Command {
	return &cli.Command{
		Name: "procedures", Usage: "how the carriers' requests ended on the node that answers, by procedure, cause and peer", Action: listProcedures,
		Description: "The counts are the node's own, since it started.",
	}
}

func listProcedures(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := all[adminapi.Procedure](c, "/v1/procedures")
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range list {
		rows = append(rows, []string{p.Protocol, p.Procedure, p.Cause, p.Peer, strconv.FormatUint(p.Count, 10)})
	}
	return show(c, list, []string{"PROTOCOL", "PROCEDURE", "CAUSE", "PEER", "COUNT"}, rows)
}
