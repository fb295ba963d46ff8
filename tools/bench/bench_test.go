package main

import (
	"bytes"
	"crypto/ecdh"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

func TestQuantiles(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, c := range []struct {
		all  []int
		q    float64
		want int
	}{
		{nil, 0.5, 0},
		{[]int{7}, 0.5, 7},
		{[]int{7}, 0.99, 7},
		{[]int{3, 1, 2}, 0.5, 2},
		{[]int{4, 3, 1, 2}, 0.5, 2},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
	} {
		if got := quantile(c.all, c.q); got != c.want {
			t.Errorf("quantile %v of %d values: %d, want %d", c.q, len(c.all), got, c.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("the values were sorted in place")
	}
}

func TestTable(t *testing.T) {
	f := figure("attach", 3, "16 outstanding", [][]sample{
		{{"rate", "/s", 900}, {"p50", "ms", 12.25}},
		{{"rate", "/s", 1_000}, {"p50", "ms", 12.5}},
		{{"rate", "/s", 12_345}, {"p50", "ms", 12.75}},
	})
	f.add("of raft", "%", 0)
	if v := f.value("rate"); v != 1_000 || f.value("none") != 0 {
		t.Errorf("median %v", v)
	}
	var b strings.Builder
	if err := table(&b, []Figure{f, f}); err != nil {
		t.Fatal(err)
	}
	want := "  nodes            case      rate /s  p50 ms  of raft %\n" +
		"      3  16 outstanding  1000 ±1134%    12.5          0\n" +
		"      3  16 outstanding  1000 ±1134%    12.5          0\n"
	if b.String() != want {
		t.Errorf("got\n%s want\n%s", b.String(), want)
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.123: "0.12", 9.999: "10.00", 12.34: "12.3", 123.4: "123", 9999: "9999", 10_000: "10,000", 1_234_567.8: "1,234,568", -12_345: "-12,345",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is shown as %s, want %s", v, got, want)
		}
	}
}

func TestOthers(t *testing.T) {
	begin := time.Now()
	before := usage{at: begin, busy: time.Hour, ours: time.Minute}
	after := usage{at: begin.Add(10 * time.Second), busy: time.Hour + 9*time.Second, ours: time.Minute + 4*time.Second}
	if got := after.others(before, 2); got != 25 {
		t.Errorf("others took %v %%, want 5 s of 20", got)
	}
}

func TestCPUTime(t *testing.T) {
	stat := "4711 (a name) with ) S 1 2 3 4 5 6 7 8 9 10 123 77 0 0 20 0\n"
	if got, err := cpuTime([]byte(stat)); err != nil || got != 2*time.Second {
		t.Errorf("%v, %v; want 2s", got, err)
	}
	for cut := range len("4711 (a name) with ) S 1 2 3 4 5 6 7 8 9 10 123 ") {
		if got, err := cpuTime([]byte(stat[:cut])); err == nil {
			t.Errorf("cut at %d: %v, want an error", cut, got)
		}
	}
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Skip("no /proc here")
	}
	if _, err := cpuTime(own); err != nil {
		t.Error(err)
	}
}

func TestBeside(t *testing.T) {
	rates := func(all ...float64) (runs [][]sample) {
		for _, v := range all {
			runs = append(runs, []sample{{"", "Mbit/s", v}, {"CPU", "s/GB", 1}})
		}
		return runs
	}
	// The machine is ten times as busy in the last round, for both.
	v := beside(rates(200, 180, 10), rates(100, 120, 10))
	if v.Median != 1.5 || v.Min != 1 || v.Max != 2 || v.column() != "beside" {
		t.Errorf("%+v", v)
	}
	if v := beside(rates(1), rates(0)); v.Median != 0 {
		t.Errorf("beside nothing: %+v", v)
	}
}

// An initiation is what a server takes: with the first MAC that its public key makes.
func TestInitiation(t *testing.T) {
	keys, err := newHandshakers(2)
	if err != nil {
		t.Fatal(err)
	}
	client, server := keys[0], keys[1]
	msg, err := initiation(client, server.PublicKey(), 7, time.Unix(1_800_000_000, 5))
	if err != nil {
		t.Fatal(err)
	}
	if len(msg) != initiationSize || msg[0] != messageInitiation || msg[4] != 7 {
		t.Errorf("message % x", msg[:8])
	}
	// The server's half of 5.4.2: it finds the client's key and the time.
	chain := blake2s.Sum256([]byte("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"))
	sum := hashed(hashed(chain[:], []byte("WireGuard v1 zx2c4 Jason@zx2c4.com")), server.PublicKey().Bytes())
	ephemeral, err := ecdh.X25519().NewPublicKey(msg[8:40])
	if err != nil {
		t.Fatal(err)
	}
	sum = hashed(sum, msg[8:40])
	key, _ := derived(chain[:], msg[8:40])
	for _, step := range []struct {
		with   *ecdh.PublicKey
		sealed []byte
		want   []byte
	}{
		{ephemeral, msg[40:88], client.PublicKey().Bytes()},
		{client.PublicKey(), msg[88:116], tai64n(time.Unix(1_800_000_000, 5))},
	} {
		shared, err := server.ECDH(step.with)
		if err != nil {
			t.Fatal(err)
		}
		var secret []byte
		key, secret = derived(key, shared)
		open, err := chacha20poly1305.New(secret)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := open.Open(nil, make([]byte, chacha20poly1305.NonceSize), step.sealed, sum)
		if err != nil || !bytes.Equal(plain, step.want) {
			t.Fatalf("%x, %v; want %x", plain, err, step.want)
		}
		sum = hashed(sum, step.sealed)
	}
}
