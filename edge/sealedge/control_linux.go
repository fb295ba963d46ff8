package main

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sameUser refuses callers of other users than the node's, and root.
func sameUser(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return sameUID(peer.Uid, os.Getuid())
}

func sameUID(caller uint32, own int) error {
	if caller != 0 && int(caller) != own {
		return fmt.Errorf("user %d called; the node is of user %d", caller, own)
	}
	return nil
}
