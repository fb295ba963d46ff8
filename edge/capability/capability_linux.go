package capability

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func raise() error {
	// Version 3 has two words of each set. The process 0 is the calling thread.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("reading the capabilities: %w", err)
	}
	there := true
	for i := range sets {
		there = there && sets[i].Effective == sets[i].Permitted
		sets[i].Effective = sets[i].Permitted
	}
	if there {
		return nil
	}
	// Capabilities belong to threads, and a goroutine runs on any of them.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0)
	switch {
	case errno == 0:
		return nil
	case errors.Is(errno, syscall.ENOTSUP):
		return errors.New("taking the capabilities that were given: this program was built with cgo; build it with CGO_ENABLED=0")
	default:
		return fmt.Errorf("taking the capabilities that were given: %w", errno)
	}
}
