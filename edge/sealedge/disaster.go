package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/edge/config"
)

// What is done with a node that is stopped, after a disaster. The ways of doing
// it are in docs/runbooks.

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "make this node's data directory, which must be empty, out of a backup",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "the node's `FILE`"},
			&cli.StringFlag{Name: "from", Usage: "backup `FILE`"},
			&cli.StringFlag{Name: "identity", Aliases: []string{"i"}, Usage: "age identity `FILE` that the backup was made for"},
		},
		Action: restore,
	}
}

func recoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "make this node, which must be stopped, the only one of a cluster that lost its majority for good",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "the node's `FILE`"},
			&cli.BoolFlag{Name: "yes", Usage: "the other nodes will never run again with the data that they have"},
			&cli.BoolFlag{Name: "sessions-lost", Usage: "tell carriers that all sessions are lost"},
		},
		Action: recoverQuorum,
	}
}

// stoppedNode reads the configuration of a node that isn't running.
func stoppedNode(c *cli.Context) (cluster.Config, error) {
	if c.Args().Present() {
		return cluster.Config{}, mistake{fmt.Errorf("%s takes flags only, not %q", c.Command.Name, c.Args().First())}
	}
	file := c.String("config")
	if problems := config.Check(file, nil, time.Now()); len(problems) > 0 {
		return cluster.Config{}, mistake{problems}
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		return cluster.Config{}, mistake{err}
	}
	return clusterConfig(cfg, logger(cfg.Log, cfg.Log.Level, c.App.ErrWriter))
}

func restore(c *cli.Context) error {
	cfg, err := stoppedNode(c)
	if err != nil {
		return err
	}
	keys, err := os.Open(c.String("identity"))
	if err != nil {
		return mistake{err}
	}
	defer keys.Close()
	ids, err := backup.Identities(keys)
	if err != nil {
		return mistake{fmt.Errorf("%s is no age identity file: %w", keys.Name(), err)}
	}
	file, err := os.Open(c.String("from"))
	if err != nil {
		return mistake{err}
	}
	defer file.Close()
	r, err := cluster.Restore(cfg, file, ids)
	if err != nil {
		return err
	}
	w := c.App.Writer
	fmt.Fprintf(w, "Restored what node %s had at %s: entry %d, %d audit entries, digest %s.\n", r.Manifest.Node, r.Manifest.Clock.Format(time.RFC3339), r.Manifest.Index, r.Manifest.AuditSequence, r.Manifest.Digest)
	fmt.Fprintf(w, "The cluster begins epoch %d: orders are frozen until every barrel was counted (sealctl epoch show).\n", r.Epoch)
	fmt.Fprintln(w, "Start this node, then the others with empty data directories.")
	return nil
}

func recoverQuorum(c *cli.Context) error {
	cfg, err := stoppedNode(c)
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		return mistake{errors.New("this throws away what the other nodes have: when you are certain that they will never run again with their data, add --yes")}
	}
	r, err := cluster.Recover(cfg, c.Bool("sessions-lost"))
	if err != nil {
		return err
	}
	w := c.App.Writer
	fmt.Fprintf(w, "This node is the cluster now, with all that its log had, up to entry %d.\n", r.Index-1)
	fmt.Fprintf(w, "The cluster begins epoch %d: orders are frozen until every barrel was counted (sealctl epoch show).\n", r.Epoch)
	fmt.Fprintln(w, "Start this node, then the others with empty data directories.")
	return nil
}
