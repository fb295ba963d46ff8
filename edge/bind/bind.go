// Package bind opens a node's TCP listeners where they are meant to be reached: at the
// machine's own addresses that the configuration names, by the interfaces that have
// them.
//
// An address alone doesn't say that. Linux takes what is sent to any of its addresses
// by any of its interfaces, so that whoever shares a network with one of them reaches
// the addresses of all. Where the kernel lets it, a listener is therefore bound to the
// interface that has its address, and once more to loopback, by which this machine
// reaches its own addresses.
package bind

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Listen opens a TCP listener at an address, host:port. Where that names no host, it is
// at each of own; with none of them, at all addresses of the machine.
func Listen(own []netip.Addr, at string, logger *slog.Logger) (net.Listener, error) {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	if host != "" || len(own) == 0 {
		return net.Listen("tcp", at)
	}
	var ends []net.Listener
	for _, a := range own {
		more, err := open(a, net.JoinHostPort(a.String(), port), logger)
		ends = append(ends, more...)
		if err != nil {
			for _, end := range ends {
				err = errors.Join(err, end.Close())
			}
			return nil, err
		}
	}
	return join(ends), nil
}

// Interfaces names the interfaces that have an address. All of 127.0.0.0/8 is on
// loopback.
func Interfaces(a netip.Addr) (names []string, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		has, err := i.Addrs()
		if err != nil {
			continue // it is gone by now
		}
		if a.IsLoopback() && a.Is4() && i.Flags&net.FlagLoopback != 0 ||
			slices.ContainsFunc(has, func(p net.Addr) bool { n, ok := p.(*net.IPNet); return ok && n.IP.Equal(a.AsSlice()) }) {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no interface of this machine has the address %s", a)
	}
	return names, nil
}

// loopbacks names the interfaces by which the machine reaches itself.
func loopbacks() (names []string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			names = append(names, i.Name)
		}
	}
	return names
}

// open opens the listeners of one address. With an error it returns those that are open.
func open(a netip.Addr, at string, logger *slog.Logger) (ends []net.Listener, err error) {
	network := "tcp4"
	if a.Is6() {
		network = "tcp6"
	}
	names, err := Interfaces(a)
	if err != nil {
		return nil, err
	}
	for _, name := range loopbacks() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		lc := net.ListenConfig{Control: toInterface(name)}
		end, err := lc.Listen(context.Background(), network, at)
		if len(ends) == 0 && isRefused(err) {
			logger.Warn("the kernel lets this process bind no socket to an interface, as Linux does from 5.7 on or with CAP_NET_RAW: what is sent to the address by another interface is taken, too", "address", at, "interface", name)
			if end, err = net.Listen(network, at); err != nil {
				return nil, err
			}
			return []net.Listener{end}, nil
		}
		if err != nil {
			return ends, err
		}
		ends = append(ends, end)
	}
	return ends, nil
}

// listener is one port at several addresses and interfaces.
type listener struct {
	ends     []net.Listener
	accepts  sync.WaitGroup
	conns    chan net.Conn
	failures chan error
	closed   chan struct{}
	once     sync.Once
}

func join(ends []net.Listener) *listener {
	l := &listener{ends: ends, conns: make(chan net.Conn), failures: make(chan error), closed: make(chan struct{})}
	for _, end := range ends {
		l.accepts.Go(func() { l.accept(end) })
	}
	return l
}

// accept hands what one end takes, and why it can't, to Accept.
func (l *listener) accept(end net.Listener) {
	for {
		c, err := end.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case l.failures <- err:
				continue
			case <-l.closed:
				return
			}
		}
		select {
		case l.conns <- c:
		case <-l.closed:
			c.Close()
			return
		}
	}
}

// Accept waits for the next connection at any end. An end that can't take any for now,
// as when no descriptor is free, is tried again when its error was heard of.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // not a connection that waits beside it
		return nil, l.gone()
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case err := <-l.failures:
		return nil, err
	case <-l.closed:
		return nil, l.gone()
	}
}

func (l *listener) gone() error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close ends all ends; when it returns nothing is taken any more. A second one says
// net.ErrClosed.
func (l *listener) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed})
	l.once.Do(func() {
		close(l.closed)
		var all []error
		for _, end := range l.ends {
			all = append(all, end.Close())
		}
		l.accepts.Wait()
		err = errors.Join(all...)
	})
	return err
}

// Addr is the first of the addresses.
func (l *listener) Addr() net.Addr { return l.ends[0].Addr() }
