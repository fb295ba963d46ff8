package drill

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine is where a report was made.
type Machine struct {
	Cores   int    `json:"cores"`
	CPU     string `json:"cpu"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	LoadAvg string `json:"load_avg"` // before the first drill
}

func (m Machine) String() string {
	return fmt.Sprintf("%d cores (%s), Linux %s, %s, load average before: %s", m.Cores, m.CPU, m.Kernel, m.Go, m.LoadAvg)
}

// ThisMachine looks at this machine; what can't be found out is "unknown".
func ThisMachine() Machine {
	return Machine{
		Cores: runtime.NumCPU(), CPU: value("/proc/cpuinfo", "model name"), Kernel: line("/proc/sys/kernel/osrelease"),
		Go: runtime.Version(), LoadAvg: line("/proc/loadavg"),
	}
}

const unknown = "unknown"

// line is the first line of a file.
func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first)
}

// value is the first value of a name in a file of "name: value" lines.
func value(path, name string) string {
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
