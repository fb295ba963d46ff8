// Command raise lays its capabilities down, keeps them permitted, takes them again
// and prints, each time, what each of its threads has.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sealedge/sealedge/edge/capability"
)

func main() {
	for range 4 { // more threads than one
		go func() {
			for {
				_ = unix.Nanosleep(&unix.Timespec{Sec: 1}, nil)
			}
		}()
	}
	show("before")
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	check(unix.Capget(&header, &sets[0]))
	sets[0].Effective, sets[1].Effective = 0, 0
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0); errno != 0 {
		check(errno)
	}
	show("down")
	check(capability.Raise())
	show("up")
}

// show prints the different effective sets of the threads.
func show(when string) {
	files, err := filepath.Glob("/proc/self/task/*/status")
	check(err)
	seen := map[string]bool{}
	for _, f := range files {
		status, err := os.ReadFile(f)
		check(err)
		_, rest, _ := strings.Cut(string(status), "CapEff:\t")
		set, _, _ := strings.Cut(rest, "\n")
		if !seen[set] {
			seen[set] = true
			fmt.Println(when, set)
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
