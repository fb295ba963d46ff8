package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/apn/trace"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/ident"
)

// holdingEvery is how soon a trace notices that the carrier speaks to another
// node.
const holdingEvery = time.Second

// trace follows a subscriber's signalling for as long as this node holds a
// gateway address.
func (g *gateway) trace(ctx context.Context, imsi ident.IMSI, w io.Writer, most time.Duration, bytes int64, begun func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		tick := time.NewTicker(holdingEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if !g.holdsAny() {
					cancel()
				}
			}
		}
	}()
	summary, err := g.tracer.Follow(ctx, imsi, w, trace.Limits{Time: most, Bytes: bytes}, begun)
	if err == nil {
		g.log.Info("trace ended", "imsi", imsi, "packets", summary.Packets, "bytes", summary.Bytes, "lost", summary.Lost, "end", summary.End)
	}
	return err
}

// procedures lists how the carriers' requests ended here.
func (g *gateway) procedures() []adminapi.Procedure {
	list := []adminapi.Procedure{}
	seen := map[gtpc.ProcedureCount]int{}
	for _, f := range g.faces {
		for _, c := range f.control.ByProcedure() {
			kind := c
			kind.N = 0
			if i, ok := seen[kind]; ok {
				list[i].Count += c.N
				continue
			}
			seen[kind] = len(list)
			list = append(list, adminapi.Procedure{
				Protocol: fmt.Sprintf("GTPv%d", c.Version), Procedure: c.Procedure, Cause: c.Cause, Peer: c.Peer, Count: c.N,
			})
		}
	}
	return list
}
