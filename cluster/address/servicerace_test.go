package address

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Three nodes hold in turn, in an order, for times and over an API server whose
// slowness are drawn: requests are carried out late, also after their sender gave them
// up; former holders go on for a while, and give up late or never. An older tenure is
// never written over a newer one, a tenure's slice says its holder or nobody, and the
// last holder is found in the end.
func TestServiceOfManyHolders(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { holdInTurn(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func holdInTurn(t *testing.T, rng *rand.Rand) {
	k := newKubernetes(t)
	var mu sync.Mutex // guards rng
	some := func(most time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(rng.Int64N(int64(most)))
	}
	chance := func(p float64) bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64() < p
	}
	k.set(func() {
		k.before = func(string) {
			if chance(.5) {
				time.Sleep(some(100 * time.Millisecond))
			}
			if chance(.2) {
				time.Sleep(some(3 * requestTimeout)) // the sender may be gone
			}
		}
	})
	holder := map[string]string{} // by tenure, "life/epoch"
	var holding sync.WaitGroup
	stop := func() {}
	life, epoch := int64(0), uint64(0)
	for range 15 {
		if epoch++; chance(.1) {
			life, epoch = life+1, 1+uint64(some(3)) // restored from a backup
		}
		n := int(some(3)) + 1
		p := k.pod(n) // a new process each time: what the one before does is late
		p.life.Store(life)
		holder[tenure{life, epoch}.String()] = p.here.Address.String()
		ctx, cancel := context.WithCancel(t.Context())
		stop = func() { cancel() }
		up, down, lags := epoch, chance(.8), some(4*time.Second)
		holding.Go(func() {
			defer cancel()
			if p.Up(ctx, here, up) != nil {
				return
			}
			<-ctx.Done()
			time.Sleep(lags) // it was stopped, and doesn't know yet
			if down {
				_ = p.Down(here) // a late success, a timeout: nobody depends on it
				return
			}
			p.mu.Lock() // it is killed
			end := p.end
			p.mu.Unlock()
			end()
		})
		time.Sleep(some(8 * time.Second))
		cancel()
	}
	stop()
	holding.Wait()
	k.set(func() { k.before = nil })
	time.Sleep(time.Minute) // whatever is late has come

	last := k.pod(1)
	last.life.Store(life)
	if err := last.Up(t.Context(), here, epoch+1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	if is, want := k.says(), fmt.Sprintf("%d/%d: 10.244.1.7", life, epoch+1); is != want {
		t.Errorf("in the end the slice says %q, want %q", is, want)
	}
	_ = last.Down(here)

	holder[tenure{life, epoch + 1}.String()] = "10.244.1.7"
	var newest tenure
	for i, w := range k.wrote {
		text := w.Annotations[tenureKey]
		is, err := parseTenure(text)
		if err != nil || newest.after(is) {
			t.Fatalf("write %d is of %q, after %v: %v", i, text, newest, err)
		}
		newest = is
		if len(w.Endpoints) > 1 || len(w.Endpoints) == 1 && w.Endpoints[0].Addresses[0] != holder[text] {
			t.Errorf("write %d of %s leads to %v, not to %s", i, text, w.Endpoints, holder[text])
		}
	}
	if len(k.wrote) < 5 {
		t.Errorf("only %d writes", len(k.wrote))
	}
}
