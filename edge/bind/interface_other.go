//go:build !linux

package bind

import (
	"errors"
	"syscall"
)

// Listeners aren't bound to interfaces but on Linux.

func toInterface(string) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return errors.ErrUnsupported }
}

func isRefused(err error) bool { return errors.Is(err, errors.ErrUnsupported) }
