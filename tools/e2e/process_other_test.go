//go:build !linux

package e2e

import "syscall"

func orphan(*syscall.SysProcAttr) {}
