package address

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func expectSays(t *testing.T, k *kubernetes, want string) {
	t.Helper()
	synctest.Wait()
	if is := k.says(); is != want {
		t.Errorf("the slice says %q, want %q", is, want)
	}
}

// All that kube-proxy and load balancers go by is there, and what others put into the
// slice stays.
func TestServiceLeadsToTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		a, b := k.pod(1), k.pod(2)
		before := k.stored()
		if err := a.Up(t.Context(), here, 4); err != nil {
			t.Fatal(err)
		}
		is := k.stored()
		yes, no, udp, machine := true, false, corev1.ProtocolUDP, "worker-1"
		port := func(name string, number int32) discoveryv1.EndpointPort {
			return discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &udp}
		}
		if want := []discoveryv1.Endpoint{{
			Addresses: []string{"10.244.1.7"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "edge-1"}, NodeName: &machine,
		}}; !reflect.DeepEqual(is.Endpoints, want) {
			t.Errorf("endpoints %+v", is.Endpoints)
		}
		if want := []discoveryv1.EndpointPort{port("gtp-c", 2123), port("gtp-u", 2152), port("wireguard", 51820)}; !reflect.DeepEqual(is.Ports, want) {
			t.Errorf("ports %+v", is.Ports)
		}
		want := before.DeepCopy().ObjectMeta
		want.ResourceVersion, want.Annotations[tenureKey] = "2", "0/4"
		if !reflect.DeepEqual(is.ObjectMeta, want) || is.AddressType != before.AddressType {
			t.Errorf("what isn't ours was changed: %+v, want %+v", is.ObjectMeta, want)
		}

		if err := b.Up(t.Context(), here, 5); err != nil {
			t.Fatal(err)
		}
		expectSays(t, k, "0/5: 10.244.2.7")
		if err := a.Down(here); err != nil { // late
			t.Error(err)
		}
		expectSays(t, k, "0/5: 10.244.2.7")
		if err := b.Down(here); err != nil {
			t.Error(err)
		}
		expectSays(t, k, "0/5:")
		k.requests()
		time.Sleep(time.Hour)
		if all := k.requests(); all != "" {
			t.Errorf("after Down: %s", all)
		}
	})
}

// A later tenure is never overwritten, however often it is tried; a cluster that was
// restored begins to count anew, and is later all the same.
func TestServiceKeepsOutFormerHolders(t *testing.T) {
	for _, c := range []struct {
		stored string
		life   int64
		epoch  uint64
		later  bool // than the stored one
	}{
		{"0/7", 0, 7, true}, // its own, from before its process ended
		{"0/7", 0, 8, true},
		{"0/7", 0, 6, false},
		{"0/7", 1764000000000000000, 1, true},
		{"1764000000000000000/1", 0, 900, false},
		{"1764000000000000000/10", 1764000000000000000, 9, false},
		{"1764000000000000000/9", 1764000000000000000, 10, true},
	} {
		t.Run(c.stored, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKubernetes(t)
				k.annotate(c.stored)
				a := k.pod(1)
				a.life.Store(c.life)
				err := a.Up(soon(t, time.Minute), here, c.epoch)
				if c.later {
					if err != nil || len(k.wrote) != 1 {
						t.Errorf("%v, %d writes", err, len(k.wrote))
					}
					_ = a.Down(here)
					return
				}
				if err == nil || len(k.wrote) > 0 || !strings.Contains(a.log.String(), "a later holder has written the EndpointSlice: it is at "+c.stored) {
					t.Errorf("%v, %d writes: %s", err, len(k.wrote), a.log)
				}
				if a.Counters()["superseded"] == 0 {
					t.Error("nothing was counted")
				}
			})
		})
	}
}

// A cluster that was restored while its clock was behind that of a restore before is
// taken for the earlier of the two. The log says so, and gives the command, which helps.
func TestServiceSaysWhatToDoAfterARestoreWithAWrongClock(t *testing.T) {
	docs, err := os.ReadFile("../../docs/addresses.md")
	if err != nil {
		t.Fatal(err)
	}
	const annotate = "kubectl annotate endpointslice edge-gateway sealedge.github.io/tenure- -n NAMESPACE"
	if !strings.Contains(string(docs), strings.Replace(annotate, "edge-gateway", "NAME-gateway", 1)) {
		t.Error("docs/addresses.md has another command")
	}
	for _, c := range []struct {
		stored string
		life   int64
		epoch  uint64
		says   []string
	}{
		{"1795400000000000000/12", 1764000000000000000, 3, []string{"restored or recovered at 2026-11-23T02:13:20Z, and this one was at 2025-11-24T16:00:00Z", "see that no node of the other runs, set the clocks right, and run: " + annotate}},
		{"1795400000000000000/12", 0, 900, []string{"at 2026-11-23T02:13:20Z, and this one never was", annotate}},
		{"0/12", 0, 3, []string{"another node has held the address since, and nothing needs to be done", "if all volumes were deleted and this cluster began anew, run: " + annotate}},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKubernetes(t)
			k.annotate(c.stored)
			a := k.pod(1)
			a.life.Store(c.life)
			done := make(chan error, 1)
			go func() { done <- a.Up(t.Context(), here, c.epoch) }()
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, says := range c.says {
				if !strings.Contains(a.log.String(), says) {
					t.Errorf("%s: nothing says %q: %s", c.stored, says, a.log)
				}
			}
			k.edit(func(o map[string]any) {
				delete(o["metadata"].(map[string]any)["annotations"].(map[string]any), tenureKey)
			})
			if err := <-done; err != nil { // with no restart
				t.Error(err)
			}
			expectSays(t, k, fmt.Sprintf("%d/%d: 10.244.1.7", c.life, c.epoch))
			_ = a.Down(here)
		})
	}
}

// Somebody writes between the driver's reading and its writing.
func TestServiceConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		a := k.pod(1)
		left := 3
		meanwhile := func(do func()) { // between the next readings and writings
			k.set(func() {
				k.before = func(method string) {
					if method == http.MethodPut && left > 0 {
						left--
						do()
					}
				}
			})
		}
		meanwhile(func() {
			k.edit(func(o map[string]any) { o["metadata"].(map[string]any)["labels"] = map[string]any{"edited": "yes"} })
		})
		if err := a.Up(t.Context(), here, 1); err != nil {
			t.Fatal(err)
		}
		if all := k.requests(); all != "GET 200, PUT 409, GET 200, PUT 409, GET 200, PUT 409, GET 200, PUT 200" || a.Counters()["write-conflict"] != 3 {
			t.Errorf("%s; %v", all, a.Counters())
		}
		if is := k.stored(); is.Labels["edited"] != "yes" {
			t.Errorf("another's change is undone: %v", is.Labels)
		}
		// The other was the next holder.
		left = 1
		meanwhile(func() { k.annotate("0/2") })
		if err := a.Down(here); err != nil {
			t.Error(err)
		}
		expectSays(t, k, "0/2: 10.244.1.7") // as the other wrote it
	})
}

// Up goes on until it is permitted, and says what is wrong: once, not with every
// attempt.
func TestServiceWaitsForTheServer(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(k *kubernetes)
		says  string
	}{
		{"no Role", func(k *kubernetes) { k.status = http.StatusForbidden }, "answers 403: so it is with edge-gateway: the pod's ServiceAccount needs a Role that permits get and update of endpointslices (discovery.k8s.io) with the resourceName edge-gateway"},
		{"no slice", func(k *kubernetes) { k.status = http.StatusNotFound }, "answers 404: so it is with edge-gateway: the EndpointSlice edge-gateway isn't there"},
		{"a token that isn't taken", func(k *kubernetes) { k.status = http.StatusUnauthorized }, "doesn't take the token"},
		{"a server in trouble", func(k *kubernetes) { k.status = http.StatusServiceUnavailable }, "the API server at 127.0.0.1:6443 answers 503"},
		{"a redirection, perhaps to a thief", func(k *kubernetes) { k.status = http.StatusTemporaryRedirect }, "answers 307"},
		{"another CA", func(k *kubernetes) { k.credential("ca.crt", k.stranger()) }, "certificate signed by unknown authority"},
		{"no CA", func(k *kubernetes) { k.credential("ca.crt", "none") }, "has no certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKubernetes(t)
				ca := k.read("ca.crt")
				c.spoil(k)
				a := k.pod(1)
				done := make(chan error, 1)
				go func() { done <- a.Up(t.Context(), here, 1) }()
				time.Sleep(complainEvery - time.Second)
				synctest.Wait()
				if n := strings.Count(a.log.String(), c.says); n != 1 || len(done) > 0 || len(k.wrote) > 0 {
					t.Fatalf("it is said %d times, %d writes: %s", n, len(k.wrote), a.log)
				}
				if n := a.Counters()["request-failed"]; n < 5 || n > 20 {
					t.Errorf("%d failures counted", n)
				}
				time.Sleep(complainEvery)
				synctest.Wait()
				if n := strings.Count(a.log.String(), c.says); n != 2 {
					t.Errorf("after a while it is said %d times", n)
				}
				k.set(func() { k.status = 0 })
				k.credential("ca.crt", ca)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				expectSays(t, k, "0/1: 10.244.1.7")
				if !strings.Contains(a.log.String(), "the Service leads here") {
					t.Errorf("nothing says that it is over: %s", a.log)
				}
				_ = a.Down(here)
			})
		})
	}
}

// An answer that isn't the slice, or not one that can be written safely, is none.
func TestServiceWritesNoStranger(t *testing.T) {
	for says, spoil := range map[string]func(o map[string]any){
		"not with an EndpointSlice":               func(o map[string]any) { o["kind"] = "ConfigMap" },
		"of v1, not with":                         func(o map[string]any) { o["apiVersion"] = "v1" },
		"make it anew with addressType IPv4":      func(o map[string]any) { o["addressType"] = "IPv6" },
		"has no resourceVersion":                  func(o map[string]any) { o["metadata"].(map[string]any)["resourceVersion"] = "" },
		"without metadata has no resourceVersion": func(o map[string]any) { delete(o, "metadata") },
		"which no node wrote; remove it": func(o map[string]any) {
			o["metadata"].(map[string]any)["annotations"] = map[string]any{tenureKey: "seven"}
		},
	} {
		t.Run(says, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKubernetes(t)
				spoil(k.object)
				a := k.pod(1)
				if err := a.Up(soon(t, time.Minute), here, 1); err == nil || len(k.wrote) > 0 || !strings.Contains(a.log.String(), strings.TrimPrefix(says, "without metadata ")) {
					t.Errorf("%v, %d writes: %s", err, len(k.wrote), a.log)
				}
			})
		})
	}
}

// The platform replaces tokens while they are used.
func TestServiceTokenIsReadEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		a := k.pod(1)
		if err := a.Up(t.Context(), here, 1); err != nil {
			t.Fatal(err)
		}
		k.set(func() { k.token = "second" })
		k.credential("token", "second")
		if err := a.Down(here); err != nil {
			t.Error(err)
		}
		if all := k.requests(); all != "GET 200, PUT 200, GET 200, PUT 200" {
			t.Error(all)
		}
	})
}

// A server that doesn't answer holds nobody up: neither who gives the address up nor
// who lost it while it was being brought up.
func TestServiceIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		a := k.pod(1)
		if err := a.Up(t.Context(), here, 1); err != nil {
			t.Fatal(err)
		}
		awake := make(chan struct{})
		k.set(func() { k.before = func(string) { <-awake } })
		began := time.Now()
		if err := a.Down(here); err == nil || !strings.Contains(err.Error(), "until the next holder has written") {
			t.Errorf("Down: %v", err)
		}
		if took := time.Since(began); took != withdrawTimeout { // of the bubble's clock
			t.Errorf("Down took %v", took)
		}
		began = time.Now()
		if err := a.Up(soon(t, time.Second), here, 2); err == nil {
			t.Error("Up succeeded")
		}
		if took := time.Since(began); took != time.Second+withdrawTimeout {
			t.Errorf("Up was broken off after %v", took)
		}
		// It asks anew, instead of waiting for an answer that doesn't come any more.
		go func() { time.Sleep(10 * time.Second); close(awake) }()
		if err := a.Up(t.Context(), here, 3); err != nil {
			t.Fatal(err)
		}
		if n := a.Counters()["request-failed"]; n < 4 {
			t.Errorf("%d requests failed in ten seconds", n)
		}
		expectSays(t, k, "0/3: 10.244.1.7")
		_ = a.Down(here)
	})
}

// What is written by an Up that was broken off is taken back.
func TestServiceUpThatIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		a := k.pod(1)
		ctx := soon(t, time.Second)
		k.set(func() {
			k.before = func(method string) {
				if method == http.MethodPut && ctx.Err() == nil {
					time.Sleep(1100 * time.Millisecond) // it is carried out after all
				}
			}
		})
		if err := a.Up(ctx, here, 1); !errors.Is(err, ctx.Err()) || err == nil {
			t.Errorf("Up: %v", err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if is := k.says(); is != "0/1:" && is != "0/1: 10.244.1.7" {
			t.Errorf("the slice says %q", is)
		}
		if _, tended := k.says(), k.requests(); strings.Count(tended, "GET") > 3 {
			t.Errorf("it is tended: %s", tended)
		}
		b := k.pod(2)
		if err := b.Up(t.Context(), here, 2); err != nil {
			t.Fatal(err)
		}
		expectSays(t, k, "0/2: 10.244.2.7")
		_ = b.Down(here)
	})
}

// An Up that is broken off before it wrote leaves the slice to whom it leads.
func TestServiceLeavesWhatItDidNotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		a, b := k.pod(1), k.pod(2)
		if err := b.Up(t.Context(), here, 1); err != nil {
			t.Fatal(err)
		}
		ctx := soon(t, time.Second)
		k.set(func() {
			k.before = func(method string) {
				if method == http.MethodPut && ctx.Err() == nil {
					<-ctx.Done()
					k.edit(func(map[string]any) {}) // so that it comes too late
				}
			}
		})
		if err := a.Up(ctx, here, 2); err == nil {
			t.Error("Up succeeded")
		}
		expectSays(t, k, "0/1: 10.244.2.7")
		_ = b.Down(here)
	})
}

// Somebody empties the slice, as a forced rollback of the chart does.
func TestServiceIsPutRight(t *testing.T) {
	// What is due at the very moment is done, too.
	pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		a := k.pod(1)
		if err := a.Up(t.Context(), here, 3); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if n := strings.Count(k.requests(), "PUT"); n != 1 {
			t.Errorf("%d writes of what was right", n)
		}
		wipe := func() {
			k.edit(func(o map[string]any) {
				for key, v := range k.parse([]byte(asTheChartMakesIt)) {
					o[key] = v
				}
			})
		}
		wipe()
		pass(checkEvery)
		expectSays(t, k, "0/3: 10.244.1.7")
		if a.Counters()["endpoint-put-right"] != 1 || !strings.Contains(a.log.String(), "somebody changed") {
			t.Errorf("%v: %s", a.Counters(), a.log)
		}
		// A server that adds something to what it is given isn't corrected.
		k.edit(func(o map[string]any) { o["endpoints"].([]any)[0].(map[string]any)["zone"] = "north" })
		k.requests()
		pass(time.Minute)
		if all := k.requests(); strings.Contains(all, "PUT") {
			t.Errorf("what was added is removed: %s", all)
		}
		// Who doesn't hold right now puts nothing right, and doesn't ask.
		a.holds.Store(false)
		wipe()
		pass(time.Minute)
		expectSays(t, k, ":")
		if all := k.requests(); all != "" {
			t.Errorf("asked: %s", all)
		}
		a.holds.Store(true) // it was a hiccup
		pass(checkEvery)
		expectSays(t, k, "0/3: 10.244.1.7")
		// It does hold, as far as it knows, but another does.
		k.annotate("0/4")
		pass(time.Minute)
		expectSays(t, k, "0/4: 10.244.1.7")
		if err := a.Down(here); err != nil {
			t.Error(err)
		}
		expectSays(t, k, "0/4: 10.244.1.7")
	})
}

func TestServiceOutsideOfKubernetes(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := NewDriver(Service, Settings{Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "service is for a pod of Kubernetes") {
		t.Errorf("%v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := newKubernetes(t)
		for _, file := range []string{"token", "ca.crt", "namespace"} {
			was := k.read(file)
			k.credential(file, " \n")
			if _, err := newAPIServer(k.at, k.dir, sliceName, k.net.dial); err == nil || !strings.Contains(err.Error(), "automountServiceAccountToken") {
				t.Errorf("without %s: %v", file, err)
			}
			k.credential(file, was)
		}
	})
}

func FuzzTenure(f *testing.F) {
	for _, s := range []string{"0/1", "1764000000000000000/18446744073709551615", "/", "1", "-1/2", "1/-2", "1/2/3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		is, err := parseTenure(s)
		if err != nil {
			return
		}
		if again, err := parseTenure(is.String()); err != nil || again != is || is.after(again) {
			t.Errorf("%q is %+v, which is %+v again: %v", s, is, again, err)
		}
		for _, other := range []tenure{{}, {is.life, is.epoch + 1}, {is.life + 1, 0}} {
			if other != is && is.after(other) == other.after(is) {
				t.Errorf("%v and %v are in no order", is, other)
			}
		}
	})
}

func TestHas(t *testing.T) {
	for _, c := range []struct {
		have, want string
		ok         bool
	}{
		{`{"a":1,"b":[true,"x"]}`, `{"b":[true,"x"]}`, true},
		{`{"a":1}`, `{"a":2}`, false},
		{`{}`, `{"a":{"b":1}}`, false},
		{`null`, `{}`, false},
		{`null`, `[]`, false},
		{`[1,2]`, `[1]`, false},
		{`[1]`, `[1,2]`, false},
		{`[[]]`, `[{}]`, false},
		{`"1"`, `1`, false},
	} {
		var have, want any
		if err := errors.Join(json.Unmarshal([]byte(c.have), &have), json.Unmarshal([]byte(c.want), &want)); err != nil {
			t.Fatal(err)
		}
		if has(have, want) != c.ok {
			t.Errorf("%s has %s: %v", c.have, c.want, !c.ok)
		}
	}
}
