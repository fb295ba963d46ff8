package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// readHead reads a file with a pinned head.
func readHead(file string) (adminapi.AuditHead, error) {
	var h adminapi.AuditHead
	if err := readDocument(file, &h); err != nil {
		return h, err
	}
	if h.Sequence == 0 || h.Hash == "" {
		return h, &hinted{exitUsage, file + " holds no head of an audit chain", "have it written by 'sealctl audit head -o json'"}
	}
	return h, nil
}

func readDocument(file string, into any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a file that sealctl wrote"}
	}
	if err := json.Unmarshal(b, into); err != nil {
		return &hinted{exitUsage, fmt.Sprintf("%s cannot be read: %v", file, err), "it is JSON, as 'sealctl audit head -o json' and 'sealctl audit prove' write it"}
	}
	return nil
}

// unproven says what it means that a proof doesn't hold.
func unproven(what string, err error) error {
	return &hinted{exitVerification, what + ": " + err.Error(), "somebody changed the document, the head is another chain's, or the gateway's past was changed: keep both, and compare with another node"}
}

func auditHead(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	path, file := "/v1/audit/head", c.String("since")
	var older adminapi.AuditHead
	if file != "" {
		var err error
		if older, err = readHead(file); err != nil {
			return err
		}
		path += "?since=" + strconv.FormatUint(older.Sequence, 10)
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var h adminapi.AuditHead
	if err := cl.call(c.Context, http.MethodGet, path, nil, &h); err != nil {
		return err
	}
	if file != "" {
		if err := h.CheckSince(&older); err != nil {
			return unproven(file, err)
		}
		fmt.Fprintf(c.App.ErrWriter, "the chain up to entry %d is the beginning of that up to entry %d\n", older.Sequence, h.Sequence)
	}
	return show(c, h, []string{"FIELD", "VALUE"}, [][]string{
		{"entry", strconv.FormatUint(h.Sequence, 10)},
		{"hash", h.Hash},
		{"tree begins at entry", numbered(h.TreeFirst)},
		{"root", h.Root},
	})
}

func numbered(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func auditProve(c *cli.Context) error {
	a, err := arguments(c, "NUMBER")
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(a[0], 10, 64)
	if err != nil || n == 0 {
		return usage(fmt.Sprintf("%q is no entry's number; the first is 1", a[0]))
	}
	path := "/v1/audit/proof/" + a[0]
	pinned, err := pinnedHead(c)
	if err != nil {
		return err
	}
	if pinned != nil {
		path += "?head=" + strconv.FormatUint(pinned.Sequence, 10)
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var p adminapi.AuditProof
	if err := cl.call(c.Context, http.MethodGet, path, nil, &p); err != nil {
		return err
	}
	_, err = p.Check()
	if err == nil && p.Entry.Sequence != n {
		err = fmt.Errorf("%w: it is of entry %d", adminapi.ErrProof, p.Entry.Sequence)
	}
	if err != nil {
		return unproven("what the gateway answered", err)
	}
	if pinned != nil {
		if err := samePin(&p.Head, pinned); err != nil {
			return unproven(c.String("head"), err)
		}
	}
	fmt.Fprintf(c.App.ErrWriter, "entry %d is in the tree up to entry %d: %s\n", n, p.Head.Sequence, p.Entry.Words)
	if c.String("output") == "yaml" {
		return writeYAML(c.App.Writer, p)
	}
	return json.NewEncoder(c.App.Writer).Encode(p) // small, in every other format
}

// pinnedHead reads --head; nil without it.
func pinnedHead(c *cli.Context) (*adminapi.AuditHead, error) {
	if c.String("head") == "" {
		return nil, nil
	}
	h, err := readHead(c.String("head"))
	return &h, err
}

// samePin tells whether a proof's head is the pinned one.
func samePin(h, pinned *adminapi.AuditHead) error {
	if h.Sequence != pinned.Sequence {
		return fmt.Errorf("%w: the proof is for the tree up to entry %d, the head pins that up to entry %d", adminapi.ErrProof, h.Sequence, pinned.Sequence)
	}
	if h.TreeFirst != pinned.TreeFirst || h.Root != pinned.Root {
		return fmt.Errorf("%w: the proof is for the root %s, the head pins %s", adminapi.ErrProof, h.Root, pinned.Root)
	}
	return nil
}

func auditCheckProof(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	pinned, err := pinnedHead(c)
	if err != nil {
		return err
	}
	var p struct {
		adminapi.AuditProof
		adminapi.AuditHead
	}
	if err := readDocument(a[0], &p); err != nil {
		return err
	}
	if p.AuditHead.Since != nil {
		return checkSince(c, a[0], &p.AuditHead, pinned)
	}
	if p.AuditProof.Entry.Sequence == 0 {
		return &hinted{exitUsage, a[0] + " holds no proof", "have it written by 'sealctl audit prove', or by 'sealctl audit head --since'"}
	}
	_, err = p.AuditProof.Check()
	if err == nil && pinned != nil {
		err = samePin(&p.AuditProof.Head, pinned)
	}
	if err != nil {
		return unproven(a[0], err)
	}
	if pinned == nil {
		fmt.Fprintf(c.App.ErrWriter, "checked against the root that the proof itself names; that it is the chain's, only a pinned head shows (--head)\n")
	}
	e := p.Entry
	return show(c, e, auditHeader, [][]string{auditRow(e)})
}

// checkSince checks that a pinned head is the beginning of a newer one.
func checkSince(c *cli.Context, file string, h, pinned *adminapi.AuditHead) error {
	if pinned == nil {
		return usage("--head is missing: name the file with the older head")
	}
	if err := h.CheckSince(pinned); err != nil {
		return unproven(file, err)
	}
	return show(c, h, []string{"ENTRY", "WORDS"}, [][]string{{
		strconv.FormatUint(h.Sequence, 10), fmt.Sprintf("the chain up to entry %d is the beginning of that up to entry %d", pinned.Sequence, h.Sequence),
	}})
}
