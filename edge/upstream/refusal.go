package upstream

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/sealedge/sealedge/edge/wire"
)

// errSlow is the cause of a context that ended because the server took too
// long, to tell it from a caller that went away.
var errSlow = errors.New("no answer in time")

// passed are the codes that the seal server may decide. Another one, such as
// no-quorum, would speak of the gateway and not of the server, and becomes
// server-refused with the server's words.
var passed = []wire.Code{
	wire.CodeLoginFailed, wire.CodeTokenInvalid, wire.CodeRateLimited,
	wire.CodeOrderUnknown, wire.CodeOrderNotOpen, wire.CodeOrderExhausted, wire.CodeOrderSuspended, wire.CodeOrderEnded,
	wire.CodeUploadOffset, wire.CodeDigestMismatch, wire.CodeEvidenceConflict, wire.CodeTooLarge,
	wire.CodeServerRefused,
}

// unreachable is the problem of a call that got no whole answer.
func unreachable(ctx context.Context, err error) *wire.Problem {
	var (
		byURL *url.Error
		byNet net.Error
	)
	switch {
	case errors.Is(context.Cause(ctx), errSlow), errors.As(err, &byNet) && byNet.Timeout():
		err = errSlow
	case errors.As(err, &byURL):
		err = byURL.Err // without the URL, which the terminal needn't see
	}
	p := wire.NewProblem(wire.CodeServerUnreachable, "The connection failed: "+words(err.Error())+".")
	p.RetryAfterSeconds = 2
	return p
}

// refusal is the problem of an answer that isn't 2xx. unauthorized is what a
// 401 means that doesn't say it itself.
func refusal(resp *http.Response, unauthorized wire.Code) *wire.Problem {
	var theirs wire.Problem
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && kind == wire.ContentTypeProblem {
		if wire.DecodeAnswer(resp.Body, &theirs) != nil {
			theirs = wire.Problem{}
		}
	}
	said := words(strings.TrimSpace(theirs.Title + " " + theirs.Detail))
	code, detail := theirs.Code, words(theirs.Detail)
	switch {
	case slices.Contains(passed, code):
	case resp.StatusCode == http.StatusUnauthorized:
		code = unauthorized
	case resp.StatusCode == http.StatusTooManyRequests:
		code = wire.CodeRateLimited
	case resp.StatusCode >= 500:
		code, detail = wire.CodeServerUnreachable, fmt.Sprintf("It answered with status %d. %s", resp.StatusCode, said)
	case said != "":
		code, detail = wire.CodeServerRefused, "It says: "+said
	default:
		code, detail = wire.CodeServerRefused, fmt.Sprintf("It answered with status %d and said nothing.", resp.StatusCode)
	}
	p := wire.NewProblem(code, strings.TrimSpace(detail))
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 && s <= 3600 {
		p.RetryAfterSeconds = s
	}
	return p
}

// words makes what another party wrote fit for a person's eye: at most 300
// characters, none of them a control character.
func words(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar, unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if runes := []rune(s); len(runes) > 300 {
		return string(runes[:299]) + "…"
	}
	return s
}
