package bind

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// inWorld is set for a test within its own network namespace.
const inWorld = "BIND_TEST_WORLD"

func sh(t *testing.T, command string) {
	t.Helper()
	args := strings.Fields(command)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// A neighbour in the network of another interface sends to an address that isn't of
// that network, by this machine's address in it, as whoever shares the carriers'
// network with a pod can. It reaches what is bound to the address alone, which shows
// that its packets come; and nothing of what Listen opened.
func TestNeighboursOfOtherInterfaces(t *testing.T) {
	if os.Getenv(inWorld) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		for _, program := range []string{"ip", "nsenter"} {
			if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
		}
		world := exec.Command(os.Args[0], "-test.run=^TestNeighboursOfOtherInterfaces$", "-test.v")
		world.Env = append(os.Environ(), inWorld+"=1")
		world.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := world.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestNeighboursOfOtherInterfaces") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	// The machine of this process has eth0, its own address on it, and signal. Behind each is
	// another machine, which is in the network of that interface.
	sh(t, "ip link set lo up")
	for _, n := range []struct{ link, own, own6, other, other6 string }{
		{"eth0", "10.0.1.1/24", "fd00:1::1/64", "10.0.1.2/24", "fd00:1::2/64"},
		{"signal", "10.0.2.1/24", "fd00:2::1/64", "10.0.2.2/24", "fd00:2::2/64"},
	} {
		other := sleeper(t)
		sh(t, "ip link add "+n.link+" type veth peer name far netns "+other)
		sh(t, "ip addr add "+n.own+" dev "+n.link)
		sh(t, "ip addr add "+n.own6+" dev "+n.link+" nodad")
		sh(t, "ip link set "+n.link+" up")
		in := "nsenter --net=/proc/" + other + "/ns/net "
		sh(t, in+"ip addr add "+n.other+" dev far")
		sh(t, in+"ip addr add "+n.other6+" dev far nodad")
		sh(t, in+"ip link set far up")
		if n.link == "signal" {
			sh(t, in+"ip route add 10.0.1.1/32 via 10.0.2.1")
			sh(t, in+"ip route add fd00:1::1/128 via fd00:2::1")
		}
		others[n.link] = other
	}
	reached := func(from, host, port string) bool {
		cmd := exec.Command("nsenter", "--net=/proc/"+others[from]+"/ns/net", os.Args[0])
		cmd.Env = append(os.Environ(), asOther+"="+host+" "+port)
		return cmd.Run() == nil
	}
	l, err := Listen(addrs("10.0.1.1", "fd00:1::1", "127.0.0.1"), ":7443", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	for _, host := range []string{"10.0.1.1", "fd00:1::1"} {
		bare, err := net.Listen("tcp", net.JoinHostPort(host, "7000"))
		if err != nil {
			t.Fatal(err)
		}
		echo(t, bare)
		if !reached("signal", host, "7000") {
			t.Errorf("%s: the neighbour's packets don't come at all", host)
		}
		if reached("signal", host, "7443") {
			t.Errorf("%s: the neighbour of the other interface reaches it", host)
		}
		if !reached("eth0", host, "7443") {
			t.Errorf("%s: its own neighbour doesn't reach it", host)
		}
		if !answers(host, "7443") {
			t.Errorf("%s: the machine itself doesn't reach it", host)
		}
	}
	for _, host := range []string{"10.0.2.1", "fd00:2::1"} {
		if reached("signal", host, "7443") {
			t.Errorf("%s: it listens at the other interface's address", host)
		}
	}
	if !answers("127.0.0.1", "7443") {
		t.Error("it doesn't listen on loopback")
	}
}

// others are processes in networks of their own, by the interface that leads to them.
var others = map[string]string{}

// sleeper starts such a process, and returns its id.
func sleeper(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("sleep", "3600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return strconv.Itoa(cmd.Process.Pid)
}

// asOther has this program dial what it says, instead of testing.
const asOther = "BIND_TEST_DIAL"

func TestMain(m *testing.M) {
	host, port, ok := strings.Cut(os.Getenv(asOther), " ")
	switch {
	case !ok:
		os.Exit(m.Run())
	case !answers(host, port):
		os.Exit(1)
	}
}
