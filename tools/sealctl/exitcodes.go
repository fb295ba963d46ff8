package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sealedge/sealedge/edge/wire"
)

// Exit codes.
const (
	exitOK           = 0 // done
	exitFailed       = 1 // something else went wrong; the words say what
	exitUsage        = 2 // the command line is not understood; nothing was sent
	exitDenied       = 4 // the gateway refused: role, certificate, or what was asked for
	exitConflict     = 6 // somebody changed it meanwhile, or its state forbids it
	exitNoLeader     = 7 // no node answered, or the cluster has no quorum
	exitVerification = 8 // an audit chain does not verify
)

// hinted is an error with an exit code and what to do next.
type hinted struct {
	code int
	msg  string
	hint string
}

func (h *hinted) Error() string { return h.msg }

// finished is the exit code of a process that did the work, and said all there is
// to say.
type finished int

func (f finished) Error() string { return fmt.Sprintf("exit status %d", int(f)) }

func usage(msg string) error {
	return &hinted{exitUsage, msg, "add --help to see how it is used"}
}

// words is what went wrong; the hint comes on a line of its own.
func words(err error) string {
	var p *wire.Problem
	if !errors.As(err, &p) || p.Hint == "" {
		return err.Error()
	}
	return strings.TrimSuffix(err.Error(), " ("+p.Hint+")")
}

func hintOf(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	var p *wire.Problem
	if errors.As(err, &p) {
		return p.Hint
	}
	return ""
}

func exitCode(err error) int {
	var h *hinted
	if errors.As(err, &h) {
		return h.code
	}
	var p *wire.Problem
	if !errors.As(err, &p) {
		return exitFailed
	}
	switch p.Status {
	case http.StatusServiceUnavailable:
		return exitNoLeader
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusInternalServerError:
		return exitFailed
	}
	return exitDenied
}
