package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "the hash-chained audit log",
		Subcommands: []*cli.Command{
			{
				Name: "export", Usage: "write the chain as JSON Lines", ArgsUsage: "[FILE]",
				Description: "Without FILE the chain goes to standard output. A FILE appears only when it is whole.",
				Action:      auditExport,
			},
			{
				Name: "verify", Usage: "verify an exported chain, without a cluster", ArgsUsage: "FILE",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "head", Usage: "`HASH` of the last entry, as noted from 'cluster status -o json', or of one before it; without it a chain cut at its end verifies too"}},
				Action: auditVerify,
			},
		},
	}
}

func auditExport(c *cli.Context) error {
	if c.Args().Len() > 1 {
		_, err := arguments(c, "FILE")
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	resp, err := cl.do(c.Context, http.MethodGet, "/v1/audit/export", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	file := c.Args().First()
	if file == "" {
		_, err = io.Copy(c.App.Writer, resp.Body)
		return cut(err)
	}
	tmp, err := os.OpenFile(file+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already when all went well
	if _, err := io.Copy(tmp, resp.Body); err != nil {
		tmp.Close()
		return cut(err)
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

func cut(err error) error {
	if err == nil {
		return nil
	}
	return &hinted{exitFailed, fmt.Sprintf("the export broke off: %v", err), "run it again; the gateway's log says why if it broke off there"}
}

func auditVerify(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	f, err := os.Open(a[0])
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a file that 'sealctl audit export FILE' wrote"}
	}
	defer f.Close()
	want := c.String("head")
	n, head, pinned, err := verifyChain(f, want)
	if err != nil {
		return &hinted{exitVerification, a[0] + ": " + err.Error(), "this file is not what the gateway wrote: export again from another node and compare"}
	}
	if want != "" && !pinned {
		return &hinted{exitVerification, fmt.Sprintf("%s verifies in itself up to %x, but is not at the pinned head %s anywhere", a[0], head, want), "entries are missing at its end, or it is another cluster's chain"}
	}
	fmt.Fprintf(c.App.Writer, "%d entries verify; head %x\n", n, head)
	return nil
}

// verifyChain reads an export from its first entry to its end, and tells whether
// want is the hash of one of them: the chain goes on while it is exported, since
// that is recorded too.
func verifyChain(r io.Reader, want string) (n uint64, head [32]byte, pinned bool, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	entries := func(yield func(*command.AuditEntry, error) bool) {
		for line := 1; lines.Scan(); line++ {
			e, err := adminapi.ParseAuditLine(lines.Bytes())
			if err != nil {
				err = fmt.Errorf("line %d: %w", line, err)
			}
			pinned = pinned || want != "" && want == hex.EncodeToString(e.GetHash())
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, err)
		}
	}
	head, n, err = state.VerifyAudit([32]byte{}, 0, entries)
	return n, head, pinned, err
}
