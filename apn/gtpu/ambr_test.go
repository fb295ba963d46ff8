package gtpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

const second = int64(time.Second)

// A sender who always has more gets the rate, within 1%, after the burst; and
// the burst is the greater of 100 ms and ten full packets.
func TestBucketRateAndBurst(t *testing.T) {
	for _, c := range []struct {
		kbps  uint32
		size  int
		burst int // octets
	}{
		{1, 1500, 15_000},
		{64, 40, 15_000},
		{1_000, 1500, 15_000},
		{1_200, 1500, 15_000},
		{50_000, 1400, 625_000},
		{300_000, 64, 3_750_000},
		{10_000_000, 1500, 125_000_000},
		{100_000_000, 64, 1_250_000_000},
		{math.MaxUint32, 9000, 53_687_091_188},
	} {
		t.Run(fmt.Sprint(c.kbps, "kbps/", c.size), func(t *testing.T) {
			l := newLimit(c.kbps)
			// What passes at once, without sending it all: the burst in packets.
			if at := l.burst / l.cost(c.size); math.Abs(float64(at)*float64(c.size)-float64(c.burst)) > 0.01*float64(c.burst)+float64(c.size) {
				t.Errorf("burst of %d octets, want %d", at*int64(c.size), c.burst)
			}
			var b bucket
			now := second
			b.arrival.Store(now*units + l.burst) // emptied
			if b.take(now, l, c.size) {
				t.Fatal("an empty bucket gave a packet")
			}
			// As fast as it goes, for the time of 20,000 packets.
			const packets = 20_000
			per := max(l.cost(c.size)/units, 1)
			passed, end := 0, now+per*packets
			for ; now < end; now += max(per/3, 1) {
				if b.take(now, l, c.size) {
					passed++
				}
			}
			rate := float64(passed) * float64(c.size) * 8 / (float64(end-second) / 1e9)
			if want := float64(c.kbps) * 1000; math.Abs(rate-want) > 0.01*want {
				t.Errorf("%.0f bit/s, want %.0f", rate, want)
			}
		})
	}
}

// A rate of 0 is no limit.
func TestBucketUnlimited(t *testing.T) {
	var b bucket
	for range 1000 {
		if !b.take(1, newLimit(0), 65535) {
			t.Fatal("limited")
		}
	}
}

// Whatever is sent whenever, no more passes in any time than the burst and the
// rate times that time. It is checked from every packet to every later one, by
// a reference bucket of tokens.
func TestBucketNeverMore(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		kbps := uint32(1 + rnd.Uint64N(1<<rnd.UintN(31)))
		l := newLimit(kbps)
		capacity := max(float64(kbps)*1000/8*0.1, burstPackets*fullSize)
		var b bucket
		now, tokens, last := second, capacity, second
		for range 500 {
			size := 20 + rnd.IntN(9000)
			now += rnd.Int64N(max(4*l.cost(size)/units, 1))
			if !b.take(now, l, size) {
				continue
			}
			tokens = min(capacity, tokens+float64(now-last)*float64(kbps)/8e6) - float64(size)
			last = now
			if tokens < -1e-6*capacity-1 {
				t.Fatalf("%d kbit/s: %.1f octets too many", kbps, -tokens)
			}
		}
	}
}

// Nor do several senders at once get more.
func TestBucketShared(t *testing.T) {
	l := newLimit(1000)
	var b bucket
	var wg sync.WaitGroup
	var passed [4]int
	for i := range passed {
		wg.Go(func() {
			for now := second; now < 2*second; now += second / 2000 {
				if b.take(now, l, 500) {
					passed[i]++
				}
			}
		})
	}
	wg.Wait()
	octets := 0
	for _, n := range passed {
		octets += n * 500
	}
	if most := 15_000 + 125_000; octets > most {
		t.Errorf("%d octets passed, at most %d may", octets, most)
	}
}

// A change of the rate gives away no burst, and holds nobody up for longer than
// an empty bucket does.
func TestBucketChange(t *testing.T) {
	const now = second
	spend := func(b *bucket, l limit) (octets int) {
		for b.take(now, l, 100) {
			octets += 100
		}
		return octets
	}
	for _, c := range []struct {
		name     string
		from, to uint32
		want     int // octets that pass at once after the burst was used up and the rate changed
	}{
		{"the same", 1000, 1000, 0},
		{"more, with the same burst", 100, 1000, 0},
		{"more, with a greater burst", 1000, 10_000, 110_000},
		{"less", 10_000, 1000, 0},
		{"much less", 1_000_000, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bucket
			from, to := newLimit(c.from), newLimit(c.to)
			spend(&b, from)
			b.change(now, from, to)
			if got := spend(&b, to); got < c.want-200 || got > c.want+200 {
				t.Errorf("%d octets pass, want %d", got, c.want)
			}
			full := now + to.burst/units + 1
			got := 0
			for b.take(full, to, 100) {
				got += 100
			}
			if want := int(to.burst / to.cost(100) * 100); got < want-200 {
				t.Errorf("after the time of a burst %d octets pass, want %d", got, want)
			}
		})
	}
	// A bucket that is full stays so.
	var b bucket
	b.change(now, newLimit(10), newLimit(1000))
	if got := spend(&b, newLimit(1000)); got != 15_000 {
		t.Errorf("%d octets pass a full bucket", got)
	}
}
