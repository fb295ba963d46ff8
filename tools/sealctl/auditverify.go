package main

import (
	"bufio"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// verification is what an export turned out to be.
type verification struct {
	Entries   uint64             `json:"entries"`
	Head      adminapi.AuditHead `json:"head"`
	Pinned    []string           `json:"pinned"`              // heads that it was checked against
	Approvals *signatureCount    `json:"approvals,omitempty"` // absent: not verified
}

type signatureCount struct {
	Signatures  int `json:"signatures"`
	BrokenGlass int `json:"broken_glass"`
}

// pin is a head that the chain has to go through.
type pin struct {
	name string
	hash string              // of its entry, hexadecimal
	head *adminapi.AuditHead // nil: only the hash is known
	met  bool
}

func auditVerify(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	pins, err := readPins(c.StringSlice("head"))
	if err != nil {
		return err
	}
	var approvals *chain.Approvals
	if ca := c.String("ca"); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return &hinted{exitUsage, err.Error(), "name the file with the cluster's CA certificate"}
		}
		approvals = &chain.Approvals{Roots: x509.NewCertPool()}
		if !approvals.Roots.AppendCertsFromPEM(pem) {
			return &hinted{exitUsage, ca + " holds no certificate", "name the file with the cluster's CA certificate"}
		}
	}
	f, err := os.Open(a[0])
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a file that 'sealctl audit export FILE' wrote"}
	}
	defer f.Close()
	size := int64(0)
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	p := newByteProgress(c, "verifying", size)
	v, err := verifyChain(io.TeeReader(f, p), pins, approvals)
	p.Done()
	switch {
	case errors.Is(err, chain.ErrUnapproved):
		return &hinted{exitVerification, a[0] + ": " + err.Error(), "the gateway should never have let it into force: keep the export, and find out who could write to the nodes' disks"}
	case err != nil:
		return &hinted{exitVerification, a[0] + ": " + err.Error(), "this file is not what the gateway wrote: export again from another node and compare"}
	}
	for _, p := range pins {
		if !p.met {
			return &hinted{exitVerification, fmt.Sprintf("%s verifies in itself up to %s, but is not at the pinned head %s anywhere", a[0], v.Head.Hash, p.name), "entries are missing at its end, or it is another cluster's chain"}
		}
		v.Pinned = append(v.Pinned, p.name)
	}
	switch c.String("output") {
	case "json":
		return writeJSON(c.App.Writer, v)
	case "yaml":
		return writeYAML(c.App.Writer, v)
	}
	fmt.Fprintf(c.App.Writer, "%d entries verify; head %s\n", v.Entries, v.Head.Hash)
	if v.Head.TreeFirst != 0 {
		fmt.Fprintf(c.App.Writer, "the tree over them begins at entry %d; root %s\n", v.Head.TreeFirst, v.Head.Root)
	}
	for _, name := range v.Pinned {
		fmt.Fprintf(c.App.Writer, "nothing before the head %s was changed or left out\n", name)
	}
	if v.Approvals != nil {
		fmt.Fprintf(c.App.Writer, "%d signatures of approvals verify; %d changes came into force by broken glass\n", v.Approvals.Signatures, v.Approvals.BrokenGlass)
	}
	return nil
}

// readPins reads --head: files with heads, or hashes.
func readPins(list []string) ([]*pin, error) {
	var pins []*pin
	for _, text := range list {
		if b, err := hex.DecodeString(text); err == nil && len(b) > 0 {
			pins = append(pins, &pin{name: text, hash: text})
			continue
		}
		h, err := readHead(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, &pin{name: text, hash: h.Hash, head: &h})
	}
	return pins, nil
}

// errPin: the chain goes another way than a head that was pinned.
var errPin = errors.New("the chain is not at the pinned head")

// verifyChain reads an export from its first entry to its end.
func verifyChain(r io.Reader, pins []*pin, approvals *chain.Approvals) (v verification, err error) {
	v.Pinned = []string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	var tree merkle.Frontier
	check := func(e *command.AuditEntry) error {
		read, err := chain.Read(e)
		if err != nil {
			return err
		}
		if len(e.Hash) == len(merkle.Hash{}) && (v.Head.TreeFirst != 0 || state.BeginsTree(read.Command)) {
			if v.Head.TreeFirst == 0 {
				v.Head.TreeFirst = e.Sequence
			}
			tree.Append(merkle.Hash(e.Hash))
		}
		v.Head.Sequence, v.Head.Hash = e.Sequence, hex.EncodeToString(e.Hash)
		for _, p := range pins {
			if p.head != nil && p.head.Sequence == e.Sequence {
				v.Head.Root = rootOf(&v.Head, &tree)
				if err := p.head.Agrees(&v.Head); err != nil {
					return fmt.Errorf("%w %s: %w", errPin, p.name, err)
				}
			}
			p.met = p.met || p.hash == v.Head.Hash
		}
		if approvals == nil {
			return nil
		}
		return approvals.Check(read)
	}
	entries := func(yield func(*command.AuditEntry, error) bool) {
		for line := 1; lines.Scan(); line++ {
			e, err := adminapi.ParseAuditLine(lines.Bytes())
			if err != nil {
				err = fmt.Errorf("line %d: %w", line, err)
			}
			// The next is asked for when this one was found to continue the chain.
			if !yield(e, err) || err != nil {
				return
			}
			if err := check(e); err != nil {
				yield(nil, err)
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, err)
		}
	}
	_, v.Entries, err = state.VerifyAudit([32]byte{}, 0, entries)
	v.Head.Root = rootOf(&v.Head, &tree)
	if approvals != nil {
		v.Approvals = &signatureCount{approvals.Signatures, approvals.BrokenGlass}
	}
	return v, err
}

// rootOf is the root of the tree up to a head, in hexadecimal; empty without a tree.
func rootOf(h *adminapi.AuditHead, tree *merkle.Frontier) string {
	if h.TreeFirst == 0 {
		return ""
	}
	root := tree.Root()
	return hex.EncodeToString(root[:])
}
