package gtpc

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// reservedShare: one worker in so many never takes a Create, so that there is
// somebody for everything else when Creates wait for the cluster.
const reservedShare = 8

// outcome is what a worker made of a job.
type outcome struct {
	job   job
	reply Reply
	done  time.Time // of the handler, if it is traced
}

// work runs the handler until the loop stops giving jobs out.
func (s *Server) work(ctx context.Context, l *loop, creates <-chan job) {
	for {
		var j job
		select {
		case j = <-l.others.out:
		case j = <-creates:
		case <-ctx.Done():
			return
		}
		o := outcome{job: j, reply: s.handle(ctx, j)}
		if j.span != nil {
			o.done = time.Now()
		}
		select {
		case l.outcomes <- o:
		case <-ctx.Done():
			return
		}
	}
}

// handle survives a panic of the handler: one bad request must not end the
// sessions of all others.
func (s *Server) handle(ctx context.Context, j job) (reply Reply) {
	defer func() {
		if p := recover(); p != nil {
			reply = Reply{Comment: "a handler panicked"}
			stack := string(debug.Stack())
			s.counts.add(countHandlerPanic, func() {
				s.log.Error("GTP-C request made a handler panic", "panic", fmt.Sprint(p), "peer", j.arrival.peer,
					"bytes", excerpt(j.arrival.raw), "stack", stack)
			})
		}
	}()
	s.since(j.span, spanWait, j.arrival.at)
	return s.handler.Handle(within(ctx, j.span), j.arrival.peer, j.arrival.m)
}

// excerpt is hex without passwords, made only when a line is written.
type excerpt []byte

// LogValue implements slog.LogValuer.
func (e excerpt) LogValue() slog.Value {
	return slog.StringValue(hex.EncodeToString(gtp.Mask(e)[:min(len(e), loggedBytes)]))
}
