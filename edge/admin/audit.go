package admin

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// Chain is what the API needs of the audit chain on the node it runs on, beside
// reading it from end to end.
type Chain interface {
	AuditSearch(ctx context.Context, s chain.Search) (chain.Found, error)
	// AuditInclusion proves an entry in the tree up to another; 0 is the newest.
	AuditInclusion(ctx context.Context, sequence, upTo uint64) (chain.Proof, error)
	// AuditConsistency proves that the tree up to an entry is the beginning of that up
	// to another; 0 is the newest.
	AuditConsistency(ctx context.Context, sequence, upTo uint64) (chain.Proof, error)
}

// searchAudit answers with the entries that a query asks for, in words.
func (s *Server) searchAudit(r *http.Request, _ Caller) (any, *problem) {
	search, err := searchOf(r)
	if err != nil {
		return nil, badRequest(err)
	}
	page, p := pageOf(r, numberKey)
	if p != nil {
		return nil, p
	}
	search.Limit = page.limit
	switch {
	case page.after == 0:
	case search.Newest:
		search.To = page.after
	default:
		search.From = page.after
	}
	found, err := s.cfg.Chain.AuditSearch(r.Context(), search)
	if err != nil {
		return nil, s.auditProblem(err)
	}
	list := adminapi.List[adminapi.AuditLine]{Items: []adminapi.AuditLine{}}
	for _, e := range found.Entries {
		line, err := adminapi.AuditLineInWords(e)
		if err != nil {
			return nil, s.auditProblem(err)
		}
		list.Items = append(list.Items, line)
	}
	if found.Next != 0 {
		list.Next = base64.RawURLEncoding.EncodeToString(strconv.AppendUint(nil, found.Next, 10))
	}
	return list, nil
}

// searchOf reads a query.
func searchOf(r *http.Request) (s chain.Search, err error) {
	q := r.URL.Query()
	s.Order, s.Device, s.Person = q.Get("order"), q.Get("device"), q.Get("person")
	s.Newest = q.Get("newest") == "true"
	for name, into := range map[string]*uint64{"from": &s.From, "to": &s.To} {
		if text := q.Get(name); text != "" {
			if *into, err = sequence(name, text); err != nil {
				return s, err
			}
		}
	}
	for name, into := range map[string]*time.Time{"since": &s.Since, "until": &s.Until} {
		if text := q.Get(name); text != "" {
			if *into, err = time.Parse(time.RFC3339, text); err != nil {
				return s, fmt.Errorf("%s: %q is no time such as 2026-11-22T08:00:00Z", name, text)
			}
		}
	}
	if text := q.Get("type"); text != "" {
		n, ok := command.Type_value[strings.ToUpper(strings.ReplaceAll(text, "-", "_"))]
		if !ok || n == 0 {
			return s, fmt.Errorf("type: there are no entries of type %q; it is one such as RESERVE_USES", text)
		}
		s.Type = command.Type(n)
	}
	return s, nil
}

func sequence(name, text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s: %q is no sequence number; the first is 1", name, text)
	}
	return n, nil
}

// auditHead answers with the head of the chain and the root of its tree, and with a
// proof that ?since= is an older one of the same.
func (s *Server) auditHead(r *http.Request, _ Caller) (any, *problem) {
	var head adminapi.AuditHead
	s.cfg.Cluster.View(func(m *state.Machine) { head = headOf(m) })
	text := r.URL.Query().Get("since")
	if text == "" {
		return head, nil
	}
	since, err := sequence("since", text)
	if err != nil {
		return nil, badRequest(err)
	}
	proof, err := s.cfg.Chain.AuditConsistency(r.Context(), since, head.Sequence)
	if err != nil {
		return nil, s.auditProblem(err)
	}
	head.Since = &adminapi.AuditSince{Sequence: since, Path: adminapi.PathOf(proof.Path)}
	return head, nil
}

func headOf(m *state.Machine) adminapi.AuditHead {
	sequence, hash := m.AuditHead()
	h := adminapi.AuditHead{Sequence: sequence, Hash: hex.EncodeToString(hash[:])}
	if first, tree := m.AuditTree(); first != 0 {
		root := tree.Root()
		h.TreeFirst, h.Root = first, hex.EncodeToString(root[:])
	}
	return h
}

// auditProof proves that an entry is in the tree: the one of ?head=, or the newest.
func (s *Server) auditProof(r *http.Request, _ Caller) (any, *problem) {
	number, err := sequence("sequence", r.PathValue("sequence"))
	if err != nil {
		return nil, badRequest(err)
	}
	upTo := uint64(0)
	if text := r.URL.Query().Get("head"); text != "" {
		if upTo, err = sequence("head", text); err != nil {
			return nil, badRequest(err)
		}
	}
	proof, err := s.cfg.Chain.AuditInclusion(r.Context(), number, upTo)
	if err != nil {
		return nil, s.auditProblem(err)
	}
	root := proof.Root
	answer := adminapi.AuditProof{
		Head: adminapi.AuditHead{Sequence: proof.First + proof.Size - 1, TreeFirst: proof.First, Root: hex.EncodeToString(root[:])},
		Path: adminapi.PathOf(proof.Path),
	}
	if p := s.withEntry(r, answer.Head.Sequence, func(e *command.AuditEntry) error {
		answer.Head.Hash = hex.EncodeToString(e.Hash)
		return nil
	}); p != nil {
		return nil, p
	}
	if p := s.withEntry(r, number, func(e *command.AuditEntry) (err error) {
		answer.Entry, err = adminapi.AuditLineInWords(e)
		return err
	}); p != nil {
		return nil, p
	}
	return answer, nil
}

// withEntry calls fn with one entry.
func (s *Server) withEntry(r *http.Request, at uint64, fn func(*command.AuditEntry) error) *problem {
	found, err := s.cfg.Chain.AuditSearch(r.Context(), chain.Search{From: at, To: at, Limit: 1})
	if err == nil && len(found.Entries) != 1 {
		err = fmt.Errorf("%w: entry %d", chain.ErrGap, at)
	}
	if err == nil {
		err = fn(found.Entries[0])
	}
	if err != nil {
		return s.auditProblem(err)
	}
	return nil
}

// auditProblem maps what reading the chain ended with.
func (s *Server) auditProblem(err error) *problem {
	switch {
	case errors.Is(err, chain.ErrNoTree):
		return refuse(http.StatusNotFound, "not-in-tree", "There is no such proof.", err.Error(),
			"An entry from before the tree is proven by the chain: export it, and verify it against a head. 'sealctl audit head' says where the tree begins.")
	case errors.Is(err, chain.ErrGap), errors.Is(err, context.DeadlineExceeded):
		s.cfg.Logger.Warn("the audit chain could not be read", "err", err)
		p := refuse(http.StatusServiceUnavailable, "audit-gap", "This node doesn't have all of the audit chain now.", err.Error(), "Ask another node, or try again: it is fetched from the others.")
		p.RetryAfterSeconds = 1
		return p
	}
	s.cfg.Logger.Error("the audit chain could not be read", "err", err)
	return wire.NewProblem(wire.CodeInternal, err.Error())
}
