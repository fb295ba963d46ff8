package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/urfave/cli/v2"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "the hash-chained audit log",
		Subcommands: []*cli.Command{
			{
				Name: "tail", Usage: "show the newest entries in words",
				Description: withExamples("With --follow it goes on with every entry as it comes, until it is interrupted.",
					"sealctl audit tail", "sealctl audit tail -n 50 --type PUT_POLICY", "sealctl audit tail --follow --device SB-0001"),
				Flags: append(aboutFlags(),
					&cli.IntFlag{Name: "n", Usage: "`NUMBER` of entries", Value: 20},
					&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes"}),
				Action: auditTail,
			},
			{
				Name: "search", Usage: "find entries by order, device, person, type and time",
				Description: withExamples("An entry is found when all of it applies. A TIME is one such as 2026-11-22T08:00:00Z, a day such as 2026-11-22, or how long ago it was, such as 36h.",
					"sealctl audit search --order WO-2026-0042", "sealctl audit search --device 460010000000001 --since 24h", "sealctl audit search --person li --type APPROVE_CHANGE -o json | jq -r '.[].words'"),
				Flags: append(aboutFlags(),
					&cli.StringFlag{Name: "since", Usage: "not before `TIME`"},
					&cli.StringFlag{Name: "until", Usage: "before `TIME`"},
					&cli.Uint64Flag{Name: "from", Usage: "not before entry `NUMBER`"},
					&cli.Uint64Flag{Name: "to", Usage: "not after entry `NUMBER`"},
					&cli.BoolFlag{Name: "newest", Usage: "begin with the newest"},
					&cli.IntFlag{Name: "limit", Usage: "`NUMBER` of entries at most", Value: 1000}),
				Action: auditSearch,
			},
			{
				Name: "show", Usage: "show one entry with all that it says", ArgsUsage: "NUMBER",
				Description: withExamples("", "sealctl audit show 17", "sealctl audit show 17 -o json | jq .detail"),
				Action:      auditShow,
			},
			{
				Name: "export", Usage: "write the chain as JSON Lines", ArgsUsage: "[FILE]",
				Description: "Without FILE the chain goes to standard output. A FILE appears only when it is whole.",
				Action:      auditExport,
			},
			{
				Name: "verify", Usage: "verify an exported chain, without a cluster", ArgsUsage: "FILE",
				Description: withExamples("Every hash is worked out anew. A head says that nothing before it was changed or left out, and is in a file that 'sealctl audit head -o json' wrote, or the hash of an entry. With --ca, the CA certificate of the operators, the signature of every approval is verified as well.",
					"sealctl audit verify chain.jsonl --head head.json", "sealctl audit verify chain.jsonl --head last-year.json --head last-month.json --ca ca.pem"),
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "head", Usage: "`FILE` with a pinned head, or the hash of an entry; without one a chain cut at its end verifies too"},
				},
				Action: auditVerify,
			},
			{
				Name: "head", Usage: "show the head of the chain: keep it elsewhere, it pins all that came before",
				Description: withExamples("With --since the older head is shown to be the beginning of this one; the proof is in the document.",
					"sealctl audit head -o json > head.json", "sealctl audit head --since head.json"),
				Flags:  []cli.Flag{&cli.StringFlag{Name: "since", Usage: "`FILE` with an older head"}},
				Action: auditHead,
			},
			{
				Name: "prove", Usage: "prove that an entry is in the chain", ArgsUsage: "NUMBER",
				Description: withExamples("The document has the entry and a proof that the tree over the chain holds it; who has the head needs no cluster to check it. Without --head the tree is that of now.",
					"sealctl audit prove 17 > proof.json", "sealctl audit prove 17 --head head.json > proof.json"),
				Flags:  []cli.Flag{&cli.StringFlag{Name: "head", Usage: "`FILE` with the pinned head whose tree is to hold it"}},
				Action: auditProve,
			},
			{
				Name: "check-proof", Usage: "check a proof against a pinned head, without a cluster", ArgsUsage: "FILE",
				Description: withExamples("FILE has a proof of an entry ('audit prove'), or a head with the proof that an older one is its beginning ('audit head --since').",
					"sealctl audit check-proof proof.json --head head.json", "sealctl audit check-proof new-head.json --head head.json"),
				Flags:  []cli.Flag{&cli.StringFlag{Name: "head", Usage: "`FILE` with the pinned head"}},
				Action: auditCheckProof,
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
