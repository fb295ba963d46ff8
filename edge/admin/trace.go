package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/ident"
)

// Tracer writes the signalling of a subscriber to w as it happens, in pcapng,
// until its time or size is reached, ctx ends or this node is no longer the one
// that the carrier speaks to. For time and size 0 is the default. begun is called
// before the first byte; an error before that means that nothing was written.
type Tracer func(ctx context.Context, imsi ident.IMSI, w io.Writer, time time.Duration, bytes int64, begun func()) error

// trace follows a subscriber. A trace tells where somebody is: who asked for it
// stands in the audit chain.
func (s *Server) trace(r *http.Request, c Caller) (any, *problem) {
	q := r.URL.Query()
	imsi, err := ident.ParseIMSI(q.Get("imsi"))
	if err != nil {
		return nil, badRequest(fmt.Errorf("imsi: %w", err))
	}
	seconds, p := number(q.Get("seconds"), "seconds")
	if p != nil {
		return nil, p
	}
	bytes, p := number(q.Get("bytes"), "bytes")
	if p != nil {
		return nil, p
	}
	if v := s.cfg.Node.Status(); v.Holder != v.Node {
		return nil, refuse(http.StatusConflict, "not-holder", "The carrier does not speak to this node.",
			fmt.Sprintf("This is %s; the gateway address is with %q.", v.Node, v.Holder), "Ask that node; sealctl tries all that its context names.")
	}
	if p := s.propose(r, c, &command.RecordDecision{Kind: "trace", Subject: imsi.String(), Allowed: true, Code: "trace"}, nil); p != nil {
		return nil, p
	}
	return stream(func(w http.ResponseWriter) {
		rc := http.NewResponseController(w)
		// The server's time limit for reading a request would end the trace.
		_ = rc.SetReadDeadline(time.Time{})
		begun := false
		err := s.cfg.Trace(r.Context(), imsi, flushing{w, rc}, time.Duration(seconds)*time.Second, bytes, func() {
			begun = true
			w.Header().Set("Content-Type", "application/x-pcapng")
			w.WriteHeader(http.StatusOK)
		})
		switch {
		case err == nil:
		case begun:
			s.cfg.Logger.Warn("trace broken off", "operator", c.Name, "err", err)
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		default:
			refuse(http.StatusTooManyRequests, "too-many-traces", "The trace was not begun.", err.Error(), "End one of the traces that run on this node.").Write(w)
		}
	}), nil
}

// number reads a count out of a query; empty is 0.
func number(text, name string) (int64, *problem) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n <= 0 {
		return 0, badRequest(fmt.Errorf("%s: %q is no number from 1 to %d", name, text, 1<<31-1))
	}
	return n, nil
}

// flushing sends every write at once: a trace is watched while it grows.
type flushing struct {
	io.Writer
	rc *http.ResponseController
}

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}
