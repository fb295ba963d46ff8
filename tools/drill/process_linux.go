package drill

import "syscall"

// attributes make a child a process group of its own, which ends with us: an
// interrupt is for us to pass on.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
