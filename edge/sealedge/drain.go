package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/cluster/state"
)

// exitKept: the node still has what it was to give up. It ran as it should.
const exitKept = 3

const (
	// drainLook is how often it is looked what is left.
	drainLook = 20 * time.Millisecond
	// hopeless is at how many looks in a row there must be nobody to take over before a
	// drain ends without success, about three seconds: all others may be about to stop.
	// They aren't told by the clock, as a process that was stopped for long finds itself
	// without a majority when it looks first.
	hopeless = 150
)

func drainCommand() *cli.Command {
	return &cli.Command{
		Name:  "drain",
		Usage: "have the node that runs here give its gateway addresses and the leadership to others, before it is stopped",
		Description: "It takes none of them back until it is started anew, or --undo, except when nobody else can have them. It goes on voting. " +
			"Exit code 0: it has nothing any more, or is the cluster's only node. 3: nobody took over what it still has, which it serves until it is stopped. " +
			"1: it can't be asked.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "the node's `FILE`"},
			&cli.StringFlag{Name: "data-dir", Usage: "the node's data `DIRECTORY`, instead of --config"},
			&cli.DurationFlag{Name: "timeout", Value: 20 * time.Second, Usage: "how long to wait until others have taken over"},
			&cli.BoolFlag{Name: "undo", Usage: "the node isn't to be stopped after all, and may be given addresses and the leadership"},
		},
		Action: drainNode,
	}
}

func drainNode(c *cli.Context) error {
	dir, err := dataDirOf(c)
	if err != nil {
		return err
	}
	timeout := c.Duration("timeout")
	if timeout < 0 || timeout > maxTimeout {
		return mistake{fmt.Errorf("--timeout %s: up to %s", timeout, maxTimeout)}
	}
	q := controlQuestion{Do: doDrain, Timeout: timeout.Milliseconds()}
	if c.Bool("undo") {
		q.Do = doUndrain
	}
	code, err := askNode(c, dir, q)
	if err == nil && code != exitOK {
		err = coded{code}
	}
	return err
}

// coded ends the program with a code, after all has been said.
type coded struct{ code int }

func (c coded) Error() string { return fmt.Sprintf("exit code %d", c.code) }

// leave says to the other nodes that this one is about to stop.
func (g *gateway) leave(ctx context.Context) {
	if err := g.node.SetDrained(ctx, true); err != nil {
		g.log.Debug("not every node has heard that this one stops", "err", err)
	}
}

// errDraining is what readiness says of a drained node.
var errDraining = errors.New("this node is draining, or drained: it takes no gateway address and no leadership until it is started anew ('sealedge drain --undo' ends it)")

// drain has the others take over what this node has, and returns the exit code.
func (g *gateway) drain(ctx context.Context, say func(format string, args ...any)) int {
	name := string(g.cfg.Node.Name)
	again := g.node.Drained()
	before := g.has()
	g.log.Info("draining: the gateway addresses and the leadership go to other nodes", "has", before)
	if err := g.node.SetDrained(ctx, true); err != nil {
		say("%s", err)
	}
	if len(before) == 0 {
		if again {
			say("%s is drained already, and has nothing that others could take over", name)
		} else {
			say("%s neither leads nor holds a gateway address, and takes none from now on", name)
		}
		return exitOK
	}
	if g.node.Sole() {
		say("%s is the cluster's only node: nobody can take over, and it serves until it is stopped", name)
		return exitOK
	}
	look := time.NewTicker(drainLook)
	defer look.Stop()
	without := 0 // looks since somebody could take over
	for {
		left := g.has()
		if leader, _ := g.node.Leader(); leader == "" && before[0] == leadership && !slices.Contains(left, leadership) {
			left = slices.Insert(left, 0, leadership) // nobody has it yet
		}
		for _, h := range before {
			if !slices.Contains(left, h) {
				say("%s: %s", h, g.successorOf(h))
			}
		}
		before = left
		if len(left) == 0 {
			g.log.Info("drained: this node has nothing that others could take over")
			return exitOK
		}
		why, soon := g.node.NoSuccessor()
		if without++; soon {
			without = 0
		}
		select {
		case <-look.C:
			if without < hopeless {
				continue
			}
		case <-ctx.Done():
			if why == "" {
				why = "they didn't take it over in the time allowed"
			}
		}
		g.log.Warn("not drained: nobody else took over", "has", left, "reason", why)
		say("%s still has %s: %s. It serves until it is stopped", name, strings.Join(left, " and "), why)
		return exitKept
	}
}

func (g *gateway) undrain(ctx context.Context, say func(format string, args ...any)) int {
	if !g.node.Drained() {
		say("%s is not drained", g.cfg.Node.Name)
		return exitOK
	}
	g.log.Info("no longer drained")
	if err := g.node.SetDrained(ctx, false); err != nil {
		say("%s", err)
	}
	say("%s may be given gateway addresses and the leadership again", g.cfg.Node.Name)
	return exitOK
}

const leadership = "the leadership"

// has lists what this node has that another could have instead. What is held by nobody
// is still this node's, if it was its last.
func (g *gateway) has() (list []string) {
	me := string(g.cfg.Node.Name)
	if g.node.IsLeader() {
		list = append(list, leadership)
	}
	g.node.View(func(m *state.Machine) {
		for _, f := range g.faces {
			a := m.Address(f.name)
			if a.GetHolder() == me || f.lease.Held() || a.GetHolder() == "" && a.GetLeft() == me {
				list = append(list, "address "+f.name)
			}
		}
	})
	return list
}

// successorOf says who has what this node had.
func (g *gateway) successorOf(what string) string {
	if what == leadership {
		leader, _ := g.node.Leader()
		return leader + " leads now"
	}
	holder := ""
	g.node.View(func(m *state.Machine) { holder = m.Address(strings.TrimPrefix(what, "address ")).GetHolder() })
	return holder + " holds it now"
}
