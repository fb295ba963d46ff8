package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine is where the figures are from.
type Machine struct {
	Time     time.Time `json:"time"`
	Cores    int       `json:"cores"`
	CPU      string    `json:"cpu"`
	MemoryMB uint64    `json:"memory_mb"`
	Kernel   string    `json:"kernel"`
	Go       string    `json:"go"`
	Commit   string    `json:"commit"`
	Disk     string    `json:"disk"`     // file system of the data directories
	LoadAvg  string    `json:"load_avg"` // before the first measurement
	// Others is the share of the processors, in per cent, that other processes
	// took during the measurements: what disturbed them.
	Others float64 `json:"others_percent"`
}

// describe looks at this machine; what can't be found out is "unknown".
func describe(dir string) Machine {
	m := Machine{
		Time: time.Now().Truncate(time.Second), Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name"),
		Kernel: line("/proc/sys/kernel/osrelease"), Go: runtime.Version(), Commit: commit(), Disk: fileSystem(dir),
		LoadAvg: line("/proc/loadavg"),
	}
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		m.MemoryMB = info.Totalram * uint64(info.Unit) >> 20
	}
	return m
}

func (m Machine) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, commit %s\n%d cores (%s), %d MB, Linux %s, %s, data on %s\n"+
		"Load average before: %s; other processes took %.0f %% of the processors meanwhile.\n",
		m.Time.Format(time.RFC3339), m.Commit, m.Cores, m.CPU, m.MemoryMB, m.Kernel, m.Go, m.Disk, m.LoadAvg, m.Others)
	return err
}

const unknown = "unknown"

// usage is what the processors did until a moment.
type usage struct {
	at         time.Time
	busy, ours time.Duration
}

// used tells what all processes took of the processors since the machine
// started, and what this one and its ended children took.
func used() (u usage) {
	u.at = time.Now()
	w := strings.Fields(line("/proc/stat")) // cpu user nice system idle iowait irq softirq steal ...
	for i, v := range w {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && i >= 1 && i <= 7 && i != 4 && i != 5 {
			u.busy += time.Duration(n) * (time.Second / userHz)
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) == nil {
			u.ours += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	}
	return u
}

// others is the share of the processors that others took since an earlier
// moment, in per cent.
func (u usage) others(before usage, cores int) float64 {
	took := (u.busy - before.busy) - (u.ours - before.ours)
	return 100 * per(max(0, took.Seconds()), u.at.Sub(before.at).Seconds()*float64(cores))
}

// line is the first line of a file.
func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first)
}

// field is the first value of a name in a file of "name: value" lines.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return unknown
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return unknown
}

// commit is what the working tree is at.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(out))
}

// fileSystem tells device and type of what a directory is mounted on.
func fileSystem(dir string) string {
	f, err := os.Open("/proc/mounts")
	if err != nil {
		return unknown
	}
	defer f.Close()
	if dir, err = filepath.Abs(dir); err != nil {
		return unknown
	}
	found, longest := unknown, -1
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) < 3 {
			continue
		}
		at := strings.TrimSuffix(w[1], "/")
		if (dir == at || strings.HasPrefix(dir, at+"/")) && len(at) >= longest {
			found, longest = w[0]+" ("+w[2]+")", len(at)
		}
	}
	return found
}
