package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// newer is a command that a node of the first level doesn't know.
func newer() *command.Command {
	return command.New("test", fmt.Sprint("newer ", requests.Add(1)), "tester", &command.MoveAddress{Name: "gw"})
}

// TestRollingUpgrade: while one node is of an older version, newer commands are
// refused, wherever they are asked for, and nothing newer comes into the log; when
// it is upgraded they are carried out.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *Config) {
		if cfg.NodeName == "n3" {
			cfg.applies = 1
		}
	})
	c.awaitJoined()
	for range 3 {
		c.look()
	}
	for _, n := range c.nodes {
		var err error
		insist(t, func() error {
			if _, err = n.Propose(t.Context(), newer()); errors.Is(err, command.ErrNoQuorum) || errors.Is(err, command.ErrUnknownOutcome) {
				return err
			}
			return nil
		})
		if !errors.Is(err, command.ErrLevel) {
			t.Errorf("asked at %s: %v", n.cfg.NodeName, err)
		}
		raise := command.New("test", "", "tester", &command.RaiseLevel{Level: 2})
		if _, err := n.Propose(t.Context(), raise); err == nil {
			t.Errorf("%s has the level raised though one node is of the older version", n.cfg.NodeName)
		}
		if level := n.Status().Level; level != 1 {
			t.Errorf("%s is at level %d", n.cfg.NodeName, level)
		}
	}
	mustPropose(t, c.leader(), put("001010000000001", ""))

	c.stop("n3")
	for range 3 {
		c.look() // a voter that is down says nothing
	}
	if level := c.leader().Status().Level; level != 1 {
		t.Errorf("level %d while a voter is down", level)
	}
	cfg := c.config["n3"]
	cfg.applies = command.Level
	c.config["n3"] = cfg
	c.start("n3")
	insist(t, func() error {
		c.look()
		for _, n := range c.nodes {
			if s := n.Status(); s.Level != command.Level {
				time.Sleep(time.Millisecond)
				return fmt.Errorf("%s is at level %d", s.Node, s.Level)
			}
		}
		return nil
	})
	for _, n := range c.nodes {
		insist(t, func() error {
			r, err := n.Propose(t.Context(), newer())
			if err == nil && r.Code == command.Code_OK {
				return fmt.Errorf("an address that there isn't was moved: %v", r)
			}
			return err
		})
	}
	c.sameState()
}

// TestOldNodeIsNotLetIn: what is in the log would end it.
func TestOldNodeIsNotLetIn(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	c.awaitJoined()
	insist(t, func() error {
		c.look()
		if level := c.leader().level(); level != command.Level {
			return fmt.Errorf("level %d", level)
		}
		return nil
	})
	gone := c.follower()
	name, id := gone.cfg.NodeName, string(gone.id)
	c.stop(name)
	c.remove(id)
	if err := os.RemoveAll(c.config[name].DataDir); err != nil {
		t.Fatal(err)
	}
	cfg := c.config[name]
	cfg.applies = 1
	c.config[name] = cfg
	n := c.start(name)
	insist(t, func() error {
		switch err := c.leader().admit(t.Context(), name, n.id); {
		case err == nil:
			t.Fatal("it is let in")
		case !strings.Contains(err.Error(), "older version"):
			return err // another leads now, or is about to; or nobody answered
		}
		return nil
	})
	if c.leader().isMember(n.id) {
		t.Error("it is a member")
	}
	c.stop(name)
	cfg.applies = command.Level
	c.config[name] = cfg
	n = c.start(name)
	c.await("it joins", func() bool { return c.leader().isMember(n.id) })
}

// TestLevelOfANewLeader: who was started anew and leads at once may have to apply yet
// what raised the level; it waits for that instead of calling the others old.
func TestLevelOfANewLeader(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	n := c.nodes["n1"]
	insist(t, func() error {
		c.look()
		if level := n.level(); level != command.Level {
			return fmt.Errorf("level %d", level)
		}
		return nil
	})
	for i := range 200 {
		mustPropose(t, n, put(fmt.Sprintf("00101%010d", i), ""))
	}
	for range 10 {
		c.stop("n1")
		n = c.start("n1")
		insist(t, func() error {
			_, err := n.Propose(t.Context(), newer())
			if errors.Is(err, command.ErrLevel) {
				t.Fatal(err)
			}
			return err
		})
	}
}
