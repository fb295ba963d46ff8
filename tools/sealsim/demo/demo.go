// Package demo takes one seal through the whole story on this machine: three
// gateway processes, the seal server, and simulators of carrier, phone and
// barrel, all on loopback. It succeeds only if all of it happened.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Config says how the demo runs.
type Config struct {
	Bin  string // directory of the programs
	Dir  string // where it keeps its files, made if missing; empty: a temporary directory
	Stay bool   // keep everything running until ctx ends
	Out  io.Writer
}

// limit bounds the whole story.
const limit = 3 * time.Minute

// Run plays the story.
func Run(ctx context.Context, cfg Config) (err error) {
	bin, err := filepath.Abs(cfg.Bin)
	if err != nil {
		return err
	}
	for _, program := range []string{"sealedge", "sealctl", "sealserver"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return fmt.Errorf("there is no program %s in %s: \"make build\" makes them, --bin names another directory", program, cfg.Bin)
		}
	}
	dir := cfg.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sealedge-demo-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(dir)
			}
		}()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	s := &story{
		teller: teller{out: cfg.Out, began: time.Now()},
		ps:     &processes{bin: bin, dir: dir}, nodes: map[string]*process{},
	}
	s.ps.died = func(name string) { s.say("%s died; it is started again", name) }
	defer func() {
		if s.world != nil {
			s.world.close()
		}
		if err != nil {
			fmt.Fprint(cfg.Out, s.ps.tails())
			fmt.Fprintf(cfg.Out, "\nThe files of this run are in %s.\n", dir)
		}
		s.ps.stop()
	}()
	bounded, cancel := context.WithTimeout(ctx, limit)
	err = s.tell(bounded)
	cancel()
	if err != nil {
		return err
	}
	s.table()
	if cfg.Stay {
		s.invite(cfg.Out)
		<-ctx.Done()
		return nil
	}
	return nil
}

// story is the state of the telling.
type story struct {
	teller
	ps     *processes
	nodes  map[string]*process
	world  *world
	office *office
	log    *slog.Logger
}

// tell plays the chapters in order.
func (s *story) tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		s.begin, s.attach, s.hotspot, s.login, s.stamp, s.mismatch, s.closed, s.failover, s.bothPaths, s.fallback, s.audit,
	} {
		if err := chapter(ctx); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
	return nil
}

// invite says what a person can try while everything stays up.
func (s *story) invite(out io.Writer) {
	dir, bin := s.ps.dir, s.ps.bin
	fmt.Fprintf(out, `
Everything stays up until you press Ctrl-C.

  gateway nodes   127.0.1.1, 127.0.1.2, 127.0.1.3 (admin 7443, cluster 7000, disconnects 7444, connections 7448)
  gateway address %s (GTP-C 2123, GTP-U 2152, WireGuard %d)
  seal server     https://%s (user %s, password %s)
  files and logs  %s

Three commands to try:

  %s/sealctl --context %s/sealctl.yaml session list
  %s/sealctl --context %s/sealctl.yaml use list
  kill -9 $(pgrep -of 'sealedge run %s/node1.yaml') && %s/sealctl --context %s/sealctl.yaml cluster status
`, gatewayOuter, wireguardPort, sealServer, people[0].name, password(people[0].name), dir, bin, dir, bin, dir, dir, bin, dir)
}
