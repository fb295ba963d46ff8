package cluster

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// place is a connection to an address, which tells whether it was closed.
type place struct {
	net.Conn
	at     *net.TCPAddr
	closed bool
}

func (p *place) RemoteAddr() net.Addr { return p.at }
func (p *place) Close() error         { p.closed = true; return nil }

// TestDialerOutlivesTheNameServer: a peer is found where it was last when its name
// can't be looked up, or not soon; and where its name leads to otherwise.
func TestDialerOutlivesTheNameServer(t *testing.T) {
	const name, before, after = "n1.nodes:7000", "10.0.0.1:7000", "10.0.0.2:7000"
	noName, gone := errors.New("no such name"), errors.New("nobody is there")
	never := time.Hour
	type way struct {
		takes time.Duration
		to    string
		err   error
	}
	for _, c := range []struct {
		what         string
		first        bool // nothing is known of before
		byName, last way
		want         string
		err          error
		takes        time.Duration
		closes       bool // the other connection, which came too late
	}{
		{what: "the name leads elsewhere now", byName: way{takes: 10 * time.Millisecond, to: after}, last: way{to: before}, want: after, takes: 10 * time.Millisecond},
		{what: "the name server is silent", byName: way{takes: 5 * time.Second, err: noName}, last: way{takes: time.Millisecond, to: before}, want: before, takes: lookupPatience + time.Millisecond},
		{what: "the name server knows nothing", byName: way{err: noName}, last: way{to: before}, want: before},
		{what: "and it isn't there any more", byName: way{err: noName}, last: way{err: gone}, err: noName},
		{what: "it moved, and the name server is slow", byName: way{takes: time.Second, to: after}, last: way{err: gone}, want: after, takes: time.Second},
		{what: "it moved, packets to where it was get lost", byName: way{takes: time.Second, to: after}, last: way{takes: never, err: gone}, want: after, takes: time.Second},
		{what: "both are found, the name a moment later", byName: way{takes: lookupPatience + 2*time.Millisecond, to: after}, last: way{takes: time.Millisecond, to: before}, want: before, takes: lookupPatience + time.Millisecond, closes: true},
		{what: "never found before", first: true, byName: way{takes: time.Second, err: noName}, err: noName, takes: time.Second},
		{what: "all in vain", byName: way{takes: never, err: noName}, last: way{takes: never, err: gone}, err: context.DeadlineExceeded, takes: 2 * time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDialer()
				ways := map[string]way{name: {to: before}}
				var late []*place
				d.connect = func(ctx context.Context, address string) (net.Conn, error) {
					w, ok := ways[address]
					if !ok {
						t.Errorf("it tries %s", address)
					}
					stubborn := c.closes // whose attempt isn't ended in time
					select {
					case <-time.After(w.takes):
					case <-ctx.Done():
						if !stubborn {
							return nil, ctx.Err()
						}
					}
					if w.err != nil {
						return nil, w.err
					}
					at, _ := net.ResolveTCPAddr("tcp", w.to)
					p := &place{at: at}
					late = append(late, p)
					return p, nil
				}
				if !c.first {
					if _, err := d.dial(t.Context(), name); err != nil {
						t.Fatal(err)
					}
				}
				ways = map[string]way{name: c.byName, before: c.last}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				began := time.Now()
				conn, err := d.dial(ctx, name)
				if took := time.Since(began); took != c.takes {
					t.Errorf("it took %v, want %v", took, c.takes)
				}
				if !errors.Is(err, c.err) || (conn != nil) != (c.want != "") || conn != nil && conn.RemoteAddr().String() != c.want {
					t.Errorf("%v, %v; want %q, %v", conn, err, c.want, c.err)
				}
				synctest.Wait()
				for i, p := range late {
					if wanted := p != conn && i > 0; p.closed != wanted && c.closes {
						t.Errorf("connection %d to %v: closed is %v", i, p.at, p.closed)
					}
				}
			})
		})
	}
}
