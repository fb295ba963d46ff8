package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sealedge/sealedge/edge/wire"
)

// Exit codes. What they mean stands in exitCodes.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitChanges      = 3
	exitDenied       = 4
	exitApproval     = 5
	exitConflict     = 6
	exitNoLeader     = 7
	exitVerification = 8
)

// exitCodes is what scripts may rely on; help and docs/cli.md are made of it.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done"},
	{exitFailed, "something else went wrong; the words say what"},
	{exitUsage, "the command line, the context or a file is not understood; nothing was sent"},
	{exitChanges, "there are differences, and nothing was changed: a plan or a diff found them"},
	{exitDenied, "the gateway refused: your role, your certificate or token, or what was asked for"},
	{exitApproval, "proposed, and waiting for other persons' approval"},
	{exitConflict, "somebody changed it meanwhile, or its state forbids it"},
	{exitNoLeader, "no node answered in time, or the cluster has no quorum"},
	{exitVerification, "an audit chain, a proof or a signature does not verify"},
}

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
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return exitNoLeader
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusInternalServerError:
		return exitFailed
	}
	return exitDenied
}
