//go:build !linux

package address

import (
	"errors"
	"syscall"
)

func openLink(string) (link, error) {
	return nil, errors.New("gateway.address_driver netlink is for Linux; choose external, and have another program move the address")
}

// freeBind does nothing: where the kernel has no such thing, binding fails, and is
// tried again, until the address is there.
func freeBind(string, string, syscall.RawConn) error { return nil }
