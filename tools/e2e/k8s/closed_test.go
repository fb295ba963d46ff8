//go:build linux

package k8s

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// closed tries from the carriers' network what is not for it: the nodes' ports for each
// other, for operators, for the seal server and for monitoring. Nothing is listened at
// there, neither at the address that a pod has in that network, nor at its own when it
// is sent to by way of the other; each node answers at its own by the pods' network.
func (s *site) closed() {
	for n := range s.nodes {
		pod := node(n)
		own, err := netip.ParseAddr(s.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}"))
		if err != nil {
			s.Fatal(err)
		}
		lan := s.onLAN(pod)
		for _, port := range []uint16{7000, 7443, 7444, 9090} {
			if err := dial(own, port); err != nil {
				s.Errorf("%s doesn't answer at its own address: %v", pod, err)
			}
			// Refused, and not lost on the way.
			if err := dial(lan, port); !errors.Is(err, syscall.ECONNREFUSED) {
				s.Errorf("%s, port %d, from the carriers' network: %v", pod, port, err)
			}
			if err := s.detour(own, lan, port); !errors.Is(err, syscall.ECONNREFUSED) {
				s.Errorf("%s, port %d, at its own address from the carriers' network: %v", pod, port, err)
			}
		}
	}
	for _, port := range []uint16{7443, 9090} {
		s.forwarded(node(0), port)
	}
	s.held("knocking")
}

// forwarded sees that a pod's port is reached as the documentation says, with "kubectl
// port-forward", which comes to the pod's loopback.
func (s *site) forwarded(pod string, port uint16) {
	s.Helper()
	kubectl := strings.Fields(s.lab.Command())
	cmd := exec.CommandContext(s.soon(), kubectl[0], append(kubectl[1:], "--kubeconfig", s.lab.Kubeconfig(), "-n", namespace, "port-forward", "pod/"+pod, fmt.Sprintf(":%d", port))...)
	cmd.Env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH")}
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n') // Forwarding from 127.0.0.1:NNNNN -> 7443
	at, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	url := map[uint16]string{7443: "https://", 9090: "http://"}[port] + at + "/livez"
	answer, err := s.forwardedClient().Get(url)
	if err != nil {
		s.Errorf("%s by port-forward: %v", url, err)
	} else if answer.Body.Close(); answer.StatusCode != http.StatusOK {
		s.Errorf("%s by port-forward: %s", url, answer.Status)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if s.Failed() {
		s.Logf("port-forward says: %s%s", line, words.String())
	}
}

// forwardedClient calls the admin API by the name localhost, which its certificate has.
func (s *site) forwardedClient() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.roots(), ServerName: "localhost"},
	}}
}

// detour dials a pod's own address by way of that which it has in the carriers' network.
func (s *site) detour(own, via netip.Addr, port uint16) error {
	s.run("ip", "route", "add", own.String()+"/32", "via", via.String(), "dev", "lan")
	defer s.run("ip", "route", "del", own.String()+"/32")
	return dial(own, port)
}

func dial(a netip.Addr, port uint16) error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(a.String(), strconv.Itoa(int(port))), patience)
	if err != nil {
		return err
	}
	return c.Close()
}

// onLAN is the address that Multus gave a pod in the carriers' network.
func (s *site) onLAN(pod string) netip.Addr {
	s.Helper()
	var networks []struct {
		Interface string
		IPs       []string
	}
	said := s.kubectl("get", "pod", pod, "-o", `jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}`)
	if err := json.Unmarshal([]byte(said), &networks); err != nil {
		s.Fatalf("%v: %s", err, said)
	}
	for _, n := range networks {
		if n.Interface == "lan" && len(n.IPs) > 0 {
			a, err := netip.ParseAddr(n.IPs[0])
			if err != nil {
				s.Fatal(err)
			}
			return a
		}
	}
	s.Fatalf("%s has no interface lan: %s", pod, said)
	return netip.Addr{}
}
