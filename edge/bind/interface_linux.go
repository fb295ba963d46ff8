package bind

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// toInterface has a socket take only what comes by an interface (socket(7),
// SO_BINDTODEVICE).
func toInterface(name string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) {
			refused = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name)
		})
		return errors.Join(err, refused)
	}
}

// isRefused tells whether it was the kernel that wouldn't do it: of before 5.7 without
// CAP_NET_RAW, or one that is none.
func isRefused(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOPROTOOPT)
}
