//go:build !linux

package inner

import (
	"errors"
	"log/slog"
	"net/netip"
	"syscall"
)

func openTUN(string, int, []netip.Addr, *slog.Logger) (device, func(string, string, syscall.RawConn) error, error) {
	return nil, nil, errors.New("driver tun is for Linux alone; take netstack")
}
