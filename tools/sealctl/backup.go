package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func backupCommand() *cli.Command {
	return &cli.Command{
		Name:  "backup",
		Usage: "copies of all that the cluster knows",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "take a backup while the cluster works", ArgsUsage: "FILE",
				Description: "The node encrypts it: only who holds an identity of a recipient can read it, and you needn't. FILE appears only when it is whole.",
				Flags:       []cli.Flag{&cli.StringSliceFlag{Name: "recipient", Aliases: []string{"r"}, Usage: "`AGE1...` that may read it; may be repeated", Required: true}},
				Action:      backupCreate,
			},
			{
				Name: "inspect", Usage: "verify a backup, without a cluster, and tell what is in it", ArgsUsage: "FILE",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "identity", Aliases: []string{"i"}, Usage: "age identity `FILE`", Required: true}},
				Action: backupInspect,
			},
		},
	}
}

func backupCreate(c *cli.Context) (err error) {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	if _, err := backup.Recipients(c.StringSlice("recipient")); err != nil {
		return &hinted{exitUsage, err.Error(), "age-keygen prints the recipient (its public key) of an identity"}
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	path := "/v1/backup"
	if cl.stale {
		path += "?stale=true"
	}
	resp, err := cl.do(c.Context, http.MethodPost, path, adminapi.Backup{Recipients: c.StringSlice("recipient")})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	tmp, err := os.OpenFile(a[0]+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	bar := newByteProgress(c, "backup", -1) // how much it is nobody knows before
	n, err := io.Copy(io.MultiWriter(tmp, bar), resp.Body)
	bar.Done()
	if err = errors.Join(cut(err), tmp.Sync(), tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), a[0]); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "%s: %d bytes; see that it can be read: sealctl backup inspect %s -i IDENTITY\n", a[0], n, a[0])
	return nil
}

func backupInspect(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	keys, err := os.Open(c.String("identity"))
	if err != nil {
		return &hinted{exitUsage, err.Error(), "--identity names the file that age-keygen made"}
	}
	defer keys.Close()
	ids, err := backup.Identities(keys)
	if err != nil {
		return &hinted{exitUsage, fmt.Sprintf("%s is no age identity file: %v", keys.Name(), err), "age-keygen makes one"}
	}
	f, err := os.Open(a[0])
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a file that 'sealctl backup create' wrote"}
	}
	defer f.Close()
	m, _, err := backup.Read(f, ids, nil)
	if err != nil {
		return err
	}
	counts, err := json.Marshal(m.Counts)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, a[0]+" is whole: the state's digest and every link of the audit chain are right")
	return show(c, m, []string{"WHAT", "VALUE"}, [][]string{
		{"made by", m.Node},
		{"made at", m.Created.Format(time.RFC3339)},
		{"index", strconv.FormatUint(m.Index, 10)},
		{"term", strconv.FormatUint(m.Term, 10)},
		{"cluster clock", m.Clock.Format(time.RFC3339)},
		{"epoch", strconv.FormatUint(m.Epoch, 10)},
		{"policy", strconv.FormatUint(m.Policy, 10)},
		{"records", string(counts)},
		{"digest", m.Digest},
		{"audit entries", strconv.FormatUint(m.AuditSequence, 10)},
		{"audit head", m.AuditHead},
	})
}
