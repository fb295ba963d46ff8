package main

import (
	"net"
	"testing"
)

// Every listener that names no host is at the node's own addresses, and at no other of
// the machine.
func TestListenersAreAtTheNodesAddresses(t *testing.T) {
	ports := map[string]string{"cluster": "7000", "admin": "7443", "intranet": "7444", "telemetry": "9090", "fallback": "7448"}
	flags := map[string]string{
		"node.listen_at": "127.248.1.1,127.248.1.7", "telemetry.pprof": "",
		"fallback.cert": "pki/node1-admin.pem", "fallback.key": "pki/node1-admin-key.pem",
	}
	for part, port := range ports {
		flags[part+".listen"] = ":" + port
	}
	startNodeWith(t, flags)
	get(t, "http://127.248.1.1:9090/livez") // when it is answered, all are open
	for part, port := range ports {
		for _, own := range []string{"127.248.1.1", "127.248.1.7"} {
			c, err := net.Dial("tcp", net.JoinHostPort(own, port))
			if err != nil {
				t.Errorf("%s: %v", part, err)
				continue
			}
			c.Close()
		}
		if c, err := net.Dial("tcp", net.JoinHostPort("127.248.1.8", port)); err == nil {
			c.Close()
			t.Errorf("%s is at another address of the machine, too", part)
		}
	}
}
