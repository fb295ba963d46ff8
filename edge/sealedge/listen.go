package main

import (
	"fmt"
	"net"

	"github.com/sealedge/sealedge/edge/bind"
	"github.com/sealedge/sealedge/edge/config"
)

// listen opens the listener of a key of the configuration.
func (g *gateway) listen(key string, at config.HostPort) (net.Listener, error) {
	l, err := bind.Listen(g.cfg.Node.ListenAt, string(at), g.log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}
