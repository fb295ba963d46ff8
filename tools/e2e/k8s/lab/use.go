//go:build linux

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Kubectl runs kubectl and returns what it printed.
func (l *Lab) Kubectl(ctx context.Context, args ...string) (string, error) {
	return l.kubectl(ctx, "", args...)
}

// Command is kubectl as words of a shell; KUBECONFIG is to be set for it.
func (l *Lab) Command() string { return l.binaries.Hyper + " kubectl" }

// Apply has the API server know of objects.
func (l *Lab) Apply(ctx context.Context, objects string) error {
	_, err := l.kubectl(ctx, objects, "apply", "-f", "-")
	return err
}

func (l *Lab) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, l.binaries.Hyper, slices.Concat([]string{"kubectl", "--kubeconfig", l.Kubeconfig()}, args)...)
	cmd.Env = []string{"HOME=" + l.dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = strings.NewReader(stdin)
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, &words)
	}
	return string(out), nil
}

// Dump logs all that there is to know of the cluster after something went wrong.
func (l *Lab) Dump(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "nodes,pods,services,endpointslices,pvc,pv,jobs", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.metadata.creationTimestamp"},
	} {
		out, err := l.Kubectl(ctx, args...)
		l.logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, lastLines(out, 80))
	}
	list, _ := l.Kubectl(ctx, "get", "pods", "-A", "--no-headers", "-o", "custom-columns=:metadata.namespace,:metadata.name")
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		described, _ := l.Kubectl(ctx, "describe", "pod", "-n", f[0], f[1])
		said, _ := l.Kubectl(ctx, "logs", "-n", f[0], f[1], "--all-containers", "--tail=40")
		before, _ := l.Kubectl(ctx, "logs", "-n", f[0], f[1], "--all-containers", "--tail=40", "--previous")
		l.logf("pod %s/%s:\n%s\nsays last:\n%s\nsaid before:\n%s", f[0], f[1], lastLines(described, 40), said, before)
	}
	machines := []*machine{l.control}
	for _, n := range l.Nodes {
		machines = append(machines, n.machine)
	}
	for _, m := range machines {
		if m == nil {
			continue
		}
		logs, _ := filepath.Glob(filepath.Join(m.logs, "*.log"))
		for _, file := range logs {
			words, _ := os.ReadFile(file)
			l.logf("%s, %s:\n%s", m.name, filepath.Base(file), lastLines(string(words), 15))
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
