package address

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An API server that takes connections and then says nothing, not even who it is, isn't
// left with one more by each request that was given up.
func TestServiceLeavesNoConnectionsToAServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		open := 0
		var mu sync.Mutex
		api, err := newAPIServer(k.at, k.dir, sliceName, func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			mu.Lock()
			open++
			mu.Unlock()
			go func() {
				_, _ = io.Copy(io.Discard, there) // until the other side closes it
				mu.Lock()
				open--
				mu.Unlock()
			}()
			return here, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := api.get(soon(t, withdrawTimeout)); err == nil {
				t.Error("a server that hangs answered")
			}
		}
		time.Sleep(requestTimeout)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if open > 0 {
			t.Errorf("%d connections are left", open)
		}
	})
}
