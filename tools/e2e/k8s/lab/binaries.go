//go:build linux

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Binaries are where programs lie that no Debian package has.
type Binaries struct {
	Hyper   string // API server, controller manager, scheduler, kubelet, kube-proxy and kubectl
	CoreDNS string
	Multus  string
	Pause   string
}

// Kubernetes is the version of it, which it doesn't know by itself.
const Kubernetes = "v1.36.3"

// built says how each is built, in a module of its own.
var built = []struct {
	name, pkg, flags string
	into             func(*Binaries) *string
}{
	{
		"hyper", ".", "-X k8s.io/component-base/version.gitVersion=" + Kubernetes + " -X k8s.io/client-go/pkg/version.gitVersion=" + Kubernetes,
		func(b *Binaries) *string { return &b.Hyper },
	},
	{"coredns", ".", "", func(b *Binaries) *string { return &b.CoreDNS }},
	{"multus", "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus", "", func(b *Binaries) *string { return &b.Multus }},
	{"pause", ".", "", func(b *Binaries) *string { return &b.Pause }},
}

// Build gives the binaries, which are built the first time and kept in the user's
// cache: Kubernetes takes about 20 minutes. modules is the directory tools/e2e/k8s.
func Build(ctx context.Context, modules string, logf func(string, ...any)) (b Binaries, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return b, err
	}
	for _, p := range built {
		dir := filepath.Join(modules, p.name)
		key, err := fingerprint(dir, p.flags)
		if err != nil {
			return b, err
		}
		path := filepath.Join(cache, "sealedge", "k8s", p.name+"-"+key, p.name)
		*p.into(&b) = path
		if _, err := os.Stat(path); err == nil {
			continue
		}
		logf("building %s, once", p.name)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w "+p.flags, "-o", path+".new", p.pkg)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return b, fmt.Errorf("go build %s in %s: %w\n%s", p.pkg, dir, err, out)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return b, err
		}
	}
	return b, nil
}

// fingerprint is another one when a module's sources, dependencies or flags are others.
func fingerprint(dir, flags string) (string, error) {
	var files []string
	for _, pattern := range []string{"*.go", "go.mod", "go.sum"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	if !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "go.mod") }) {
		return "", fmt.Errorf("%s is no module", dir)
	}
	h := sha256.New()
	fmt.Fprintln(h, flags)
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", filepath.Base(f), len(content), content)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}
