// Command linux makes packages of the gateway for Linux machines with systemd: a
// tar.gz that is laid out as it lies in the file system, and a Debian package of the
// same. The same source, version, time and Go give the same bytes.
//
//	go run ./tools/linux -out build/linux
//
// The programs are static. What is in a package, and where, docs/install-linux.md
// says.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "linux: "+err.Error())
		os.Exit(1)
	}
}

// options of the command line.
type options struct {
	source  string // root of the module
	out     string
	arches  []string
	version string
	made    time.Time // of every file
}

func run(ctx context.Context, args []string) error {
	o := options{}
	flags := flag.NewFlagSet("linux", flag.ContinueOnError)
	flags.StringVar(&o.source, "source", ".", "root `DIR` of the source")
	flags.StringVar(&o.out, "out", "build/linux", "`DIR` for the packages")
	flags.StringVar(&o.version, "version", "", "`VERSION` of the programs; git describe by default")
	arches := flags.String("arch", "amd64,arm64", "`ARCHITECTURES`, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.arches = strings.Split(*arches, ",")
	var err error
	if o.version == "" {
		if o.version, err = git(ctx, o.source, "describe", "--tags", "--always", "--dirty"); err != nil {
			return err
		}
	}
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		if seconds, err = git(ctx, o.source, "log", "-1", "--format=%ct"); err != nil {
			return err
		}
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q: it must be seconds since 1970", seconds)
	}
	o.made = time.Unix(unix, 0).UTC()
	return o.make(ctx)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w; without git, give -version and SOURCE_DATE_EPOCH", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// make writes the packages and their digests.
func (o options) make(ctx context.Context) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, arch := range o.arches {
		programs, err := o.build(ctx, arch)
		if err != nil {
			return err
		}
		tree, err := layout(o.source, programs)
		if err != nil {
			return err
		}
		archive, err := tarball(tree, o.made)
		if err != nil {
			return err
		}
		deb, err := debian(tree, o.version, arch, o.made)
		if err != nil {
			return err
		}
		for name, content := range map[string][]byte{
			o.name(arch) + ".tar.gz": archive, o.name(arch) + ".deb": deb,
		} {
			if err := os.WriteFile(filepath.Join(o.out, name), content, 0o644); err != nil {
				return err
			}
		}
		for _, f := range []struct {
			name    string
			content []byte
		}{{o.name(arch) + ".deb", deb}, {o.name(arch) + ".tar.gz", archive}} {
			fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(f.content), f.name)
		}
	}
	fmt.Print(sums.String())
	return os.WriteFile(filepath.Join(o.out, "SHA256SUMS"), sums.Bytes(), 0o644)
}

func (o options) name(arch string) string {
	return "sealedge_" + debianVersion(o.version) + "_" + arch
}

// programs are what is in a package, with the import path of each.
var programs = map[string]string{
	"sealedge": "./edge/sealedge", "sealctl": "./tools/sealctl", "sealsim": "./tools/sealsim",
}

// build compiles the programs for an architecture.
func (o options) build(ctx context.Context, arch string) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "sealedge-linux-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=" + o.version, "-o", dir + "/"}
	for _, path := range programs {
		args = append(args, path)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = o.source
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "CGO_ENABLED=0", "GOWORK=off", "GOEXPERIMENT=")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building for %s: %w\n%s", arch, err, said)
	}
	content := make(map[string][]byte)
	for name := range programs {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, errors.Join(errors.New("the compiler left no "+name), err)
		}
		content[name] = b
	}
	return content, nil
}
