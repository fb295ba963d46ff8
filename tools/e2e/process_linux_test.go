package e2e

import "syscall"

// orphan has a program end when the test's process does, however that ends.
func orphan(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
