package admin

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// young is a cluster whose nodes know a command only from some time on.
type young struct {
	*oneNode
	from time.Time
}

func (y *young) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if time.Now().Before(y.from) {
		return nil, fmt.Errorf("%w (by the test)", command.ErrLevel)
	}
	return y.oneNode.Propose(ctx, c)
}

func TestYoungClusterIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want int
	}{{0, http.StatusOK}, {4 * time.Second, http.StatusOK}, {time.Hour, http.StatusConflict}} {
		synctest.Test(t, func(t *testing.T) {
			s, n := newServer(t)
			s.cfg.Cluster = &young{n, time.Now().Add(c.age)}
			begin := time.Now()
			w := s.send(t, operator, "POST", "/v1/orders/suspend?number=WO-1", "", `{"reason":"lost"}`)
			if w.Code != c.want {
				t.Errorf("known after %v: %d %s", c.age, w.Code, w.Body)
			}
			if took := time.Since(begin); took > min(c.age, levelPatience)+levelAgain {
				t.Errorf("known after %v: it took %v", c.age, took)
			}
			if c.want == http.StatusConflict && codeOf(t, w) != "upgrade-pending" {
				t.Errorf("%s", w.Body)
			}
		})
	}
}
