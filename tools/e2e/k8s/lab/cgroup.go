//go:build linux

package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The pods of each node are in cgroups of their own, below one of the lab.

// hierarchies are where cgroups can be made: one directory with cgroup v2, one for
// each controller before, where beside may be a v2 that controls nothing.
func hierarchies() (controllers, beside []string, err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, nil, err
	}
	var v1, v2 []string
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 3 && f[2] == "cgroup" && !slices.Contains(v1, f[1]):
			v1 = append(v1, f[1])
		case len(f) > 3 && f[2] == "cgroup2":
			v2 = []string{f[1]}
		}
	}
	if len(v1) > 0 {
		return v1, v2, nil
	}
	if len(v2) == 0 {
		return nil, nil, fmt.Errorf("no cgroups are mounted")
	}
	return v2, nil, nil
}

// makeCgroups makes the cgroup at path, in each hierarchy.
func makeCgroups(path string) error {
	roots, _, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		at := root
		for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
			above := at
			at = filepath.Join(at, part)
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
			// A new cpuset of cgroup v1 has no processors and no memory.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				from, err := os.ReadFile(filepath.Join(above, file))
				if err != nil || strings.TrimSpace(string(from)) == "" {
					continue
				}
				_ = os.WriteFile(filepath.Join(at, file), from, 0o644) // v2 inherits
			}
		}
	}
	return nil
}

// removeCgroups removes it and all below, which must be without processes; those that
// are ending are waited for.
func removeCgroups(path string) error {
	roots, beside, err := hierarchies()
	if err != nil {
		return err
	}
	for range 100 {
		left := 0
		for _, root := range slices.Concat(roots, beside) {
			var dirs []string
			_ = filepath.WalkDir(filepath.Join(root, path), func(at string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, at)
				}
				return nil
			})
			slices.Reverse(dirs) // what is below goes first
			for _, d := range dirs {
				if err := os.Remove(d); err != nil && !os.IsNotExist(err) {
					left++
				}
			}
		}
		if left == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("cgroup %s has processes still", path)
}
