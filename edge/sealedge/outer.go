package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/apn/gtpu"
	"github.com/sealedge/sealedge/edge/wireguard"
)

// gtpcPort is the UDP port of GTP-C (TS 29.274 4.4.2).
const gtpcPort = 2123

// outer is the gateway's side towards carriers and the internet: the sockets at
// the gateway address. They are open on one node only, the holder.
type outer struct {
	address   netip.Addr
	listen    net.ListenConfig
	wireguard uint16 // port; unused without fallback
	control   *gtpc.Server
	plane     *gtpu.Plane
	fallback  *wireguard.Endpoint // nil: there is no fallback path
	ready     func()              // makes the tunnels before the first packet
	failed    func(error)         // hears that a socket is served no more, though nobody asked for that
	log       *slog.Logger

	stop context.CancelFunc // owned by the address keeper, which calls up and down in turn
	done *errgroup.Group
}

// up opens the sockets. Either all of them are served when it returns, or none
// is open.
func (o *outer) up(ctx context.Context, _ uint64) (err error) {
	o.ready()
	var opened []func() error
	defer func() {
		if err != nil {
			for _, closeIt := range opened {
				err = errors.Join(err, closeIt())
			}
		}
	}()
	c, err := o.listen.ListenPacket(ctx, "udp4", netip.AddrPortFrom(o.address, gtpcPort).String())
	if err != nil {
		return fmt.Errorf("GTP-C: %w", err)
	}
	opened = append(opened, c.Close)
	// All of a carrier's terminals may attach at once; what the default buffer has no
	// room for is asked again only after T3. The kernel caps what it won't give.
	_ = c.(*net.UDPConn).SetReadBuffer(4 << 20)
	u, err := gtpu.Listen(ctx, o.listen, netip.AddrPortFrom(o.address, gtpu.Port))
	if err != nil {
		return err
	}
	opened = append(opened, u.Close)
	if o.fallback != nil {
		if err := o.fallback.Listen(ctx, netip.AddrPortFrom(o.address, o.wireguard)); err != nil {
			return err
		}
	}
	serving, stop := context.WithCancel(context.Background())
	o.stop, o.done = stop, new(errgroup.Group)
	serve := func(name string, until func() error) {
		o.done.Go(func() error {
			err := until()
			if serving.Err() == nil {
				// A holder that doesn't serve is worse than none: another node can.
				o.failed(fmt.Errorf("%s socket of the gateway address: %w", name, err))
			}
			return err
		})
	}
	serve("GTP-C", func() error { return o.control.Serve(serving, c.(*net.UDPConn)) })
	serve("GTP-U", func() error { return o.plane.Serve(serving, u) })
	return nil
}

// down closes the sockets and returns when nothing more is sent from them.
func (o *outer) down() {
	o.stop()
	if o.fallback != nil {
		o.fallback.Unlisten()
	}
	if err := o.done.Wait(); err != nil {
		o.log.Error("a socket of the gateway address failed", "err", err)
	}
}
