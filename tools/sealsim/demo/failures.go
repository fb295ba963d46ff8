package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// failover kills the leader between two stampings.
func (s *story) failover(ctx context.Context) error {
	return s.show("the leader is killed in the middle of a use; session and use go on", func() (string, error) {
		use, err := s.unlock(ctx, orderSupply)
		if err != nil {
			return "", err
		}
		if err := s.press(ctx, use, "supply page 1"); err != nil {
			return "", err
		}
		restarts, err := s.world.carrier.Echo(ctx)
		if err != nil {
			return "", err
		}
		address, bearer := s.world.phone.Address(), s.world.phone.Bearer()
		dead, err := s.ps.leader(ctx)
		if err != nil {
			return "", err
		}
		s.nodes[dead].kill()
		killed := time.Now()
		s.say("%s was killed with SIGKILL", dead)
		if err := until(ctx, "an answer after the failover", func() (bool, error) {
			try, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
			defer cancel()
			_, err := s.world.phone.Ping(try)
			return err == nil, err
		}); err != nil {
			return "", err
		}
		gap := time.Since(killed)
		next, err := s.ps.leader(ctx)
		if err != nil {
			return "", err
		}
		s.say("%s holds the gateway address; the phone's ping is answered %s after the kill", next, gap.Round(time.Millisecond))
		if err := s.press(ctx, use, "supply page 2"); err != nil {
			return "", err
		}
		if err := s.settled(ctx, use.Use); err != nil {
			return "", err
		}
		again, err := s.world.carrier.Echo(ctx)
		switch {
		case err != nil:
			return "", err
		case again != restarts:
			return "", fmt.Errorf("the GTP restart counter went from %d to %d", restarts, again)
		case s.world.phone.Address() != address || s.world.phone.Bearer() != bearer || bearer.Err() != nil:
			return "", errors.New("the phone's session is another one")
		}
		if err := s.ps.launch(s.nodes[dead]); err != nil {
			return "", err
		}
		if err := until(ctx, dead+" catching up", func() (bool, error) { return s.caughtUp(ctx) }); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s took over, %s without packets; same address, same restart counter; %s is back", next, gap.Round(time.Millisecond), dead), nil
	})
}

// caughtUp tells whether all three nodes are at the same place.
func (s *story) caughtUp(ctx context.Context) (bool, error) {
	_, err := s.commonHead(ctx)
	return err == nil, err
}

// commonHead is the head of the audit chain that all three nodes tell alike.
func (s *story) commonHead(ctx context.Context) (head string, err error) {
	list, err := s.ps.status(ctx)
	if err != nil {
		return "", err
	}
	if len(list) != 3 {
		return "", fmt.Errorf("%d nodes, not 3", len(list))
	}
	for _, n := range list {
		switch {
		case n.Status == nil:
			return "", errors.New(n.Error)
		case head != "" && n.Status.AuditHead != head:
			return "", errors.New("the nodes differ")
		}
		head = n.Status.AuditHead
	}
	return head, nil
}

// audit exports the chain from one node and verifies it against the head that
// another one tells.
func (s *story) audit(ctx context.Context) error {
	return s.show("the audit chain is exported and verified offline", func() (string, error) {
		var head string
		if err := until(ctx, "equal audit heads", func() (bool, error) {
			var err error
			if head, err = s.commonHead(ctx); err != nil {
				return false, err
			}
			if _, err := s.ps.sealctl(ctx, "audit", "export", "audit.jsonl"); err != nil {
				return false, err
			}
			_, err = s.ps.sealctl(ctx, "audit", "verify", "audit.jsonl", "--head", head)
			return err == nil, err
		}); err != nil {
			return "", err
		}
		out, err := s.ps.sealctl(ctx, "audit", "verify", "audit.jsonl", "--head", head)
		if err != nil {
			return "", err
		}
		// A changed word must not pass.
		bad := filepath.Join(s.ps.dir, "altered.jsonl")
		if err := alter(filepath.Join(s.ps.dir, "audit.jsonl"), bad); err != nil {
			return "", err
		}
		if _, err := s.ps.sealctl(ctx, "audit", "verify", bad); err == nil {
			return "", errors.New("an altered export verifies")
		}
		verified, _, _ := strings.Cut(out, ";")
		return verified + ", up to the pinned head; an altered copy does not", nil
	})
}
