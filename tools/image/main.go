// Command image makes the container images of sealedge, without a container
// engine: static programs on nothing, no shell, the same digest wherever the
// same commit is built with the same Go and the same CA roots.
//
//	go run ./tools/image            # make, make again elsewhere, compare, check
//	go run ./tools/image -once      # without the second time
//	go run ./tools/image -check     # check what lies in build/image
//
// It leaves an OCI layout with an index for all architectures and an SBOM
// attached to each image, an archive for each image that `docker load` and
// `ctr images import` read, the SBOMs beside, digests.txt and SHA256SUMS.
// docs/image.md says what operators do with them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// packagedRoots is where Debian's package ca-certificates keeps what it came
// with. /etc/ssl/certs has that and what was added to this very machine, which
// is nobody else's business.
const packagedRoots = "/usr/share/ca-certificates/mozilla"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	out := flags.String("out", "build/image", "`directory` to write, replaced as a whole")
	commit := flags.String("commit", "HEAD", "`commit` to build")
	worktree := flags.Bool("worktree", false, "build what lies in the work tree, committed or not")
	arches := flags.String("arch", "amd64,arm64", "`architectures`")
	registry := flags.String("registry", "ghcr.io/sealedge", "`prefix` of the images' names; the chart has this one, too")
	roots := flags.String("roots", packagedRoots, "CA roots: a PEM `file`, or a directory of them")
	once := flags.Bool("once", false, "don't build a second time to compare")
	checkOnly := flags.Bool("check", false, "only check what is in -out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? Only flags are understood", flags.Arg(0))
	}
	if *checkOnly {
		return check(*out, catalogue)
	}

	work, err := os.MkdirTemp("", "sealedge-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	src := source{Dir: filepath.Join(work, "first")}
	if *worktree {
		err = src.fromWorkTree(ctx)
	} else {
		err = src.fromCommit(ctx, *commit)
	}
	if err != nil {
		return err
	}
	j := job{
		Source: src, Images: catalogue, Arches: strings.Split(*arches, ","), Registry: *registry,
		Roots: *roots, Log: func(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) },
	}
	fresh := filepath.Join(work, "out")
	began := time.Now()
	if err := j.make(ctx, fresh); err != nil {
		return err
	}
	if err := check(fresh, j.Images); err != nil {
		return fmt.Errorf("what was made is not as it must be: %w", err)
	}
	j.Log("made and checked in %s", time.Since(began).Round(time.Second))
	if !*once {
		if err := j.again(ctx, work, fresh); err != nil {
			return err
		}
	}
	return install(fresh, *out)
}

// again builds everything once more, from another directory and with an empty
// build cache, and compares.
func (j job) again(ctx context.Context, work, first string) error {
	began := time.Now()
	j.Log("making everything again, elsewhere and with nothing cached, to compare")
	elsewhere := filepath.Join(work, "a", "second", "and", "longer", "place")
	if err := os.CopyFS(elsewhere, os.DirFS(j.Source.Dir)); err != nil {
		return err
	}
	j.Source.Dir = elsewhere
	j.Cache = filepath.Join(work, "cache")
	second := filepath.Join(work, "again")
	if err := j.make(ctx, second); err != nil {
		return err
	}
	if differ, err := differences(first, second); err != nil {
		return err
	} else if len(differ) > 0 {
		return fmt.Errorf("two builds of the same differ in %s", strings.Join(differ, ", "))
	}
	j.Log("the same, bit by bit, in %s", time.Since(began).Round(time.Second))
	return nil
}

// install puts the new directory where the old one was.
func install(fresh, out string) error {
	if old, err := os.ReadDir(out); err == nil && len(old) > 0 {
		if _, err := os.Stat(filepath.Join(out, sumsFile)); err != nil {
			return fmt.Errorf("%s holds something that isn't ours (it has no %s): remove it, or name another directory with -out", out, sumsFile)
		}
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return os.CopyFS(out, os.DirFS(fresh))
}
