//go:build !linux

package drill

import (
	"context"
	"errors"
	"net/netip"
)

var errLinux = errors.New("network namespaces are of Linux")

// Isolated is false here.
func Isolated() bool { return false }

// Isolate begins nothing here.
func Isolate(context.Context) (began bool, err error) { return false, errLinux }

const nodePort = ""

func isolatedIP(byte, byte) netip.Addr { return netip.Addr{} }

func makeNetwork([]string, func(int) netip.Addr) error { return errLinux }

func inNamespace(_ string, argv []string) []string { return argv }

func needs(string, string) error { return errLinux }

func cut(context.Context, string, []netip.Addr) error { return errLinux }

func heal(context.Context, string) error { return errLinux }
