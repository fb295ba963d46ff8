package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// program is one binary, and what it says of itself.
type program struct {
	Name    string // what it is called in the image
	Content []byte
	Info    *debug.BuildInfo
}

// compiler builds the programs of one architecture.
type compiler struct {
	Dir     string // of the module
	Arch    string
	Version string // what main.version becomes
	Cache   string // build cache; empty for the usual one
}

// environment is the caller's without what would change the result, and with
// what decides it.
func (c compiler) environment() []string {
	var parallel string
	for flag := range strings.FieldsSeq(os.Getenv("GOFLAGS")) {
		if strings.HasPrefix(flag, "-p=") {
			parallel = flag
		}
	}
	decides := map[string]string{
		"GOOS": "linux", "GOARCH": c.Arch, "GOAMD64": "v1", "GOARM64": "v8.0", "CGO_ENABLED": "0",
		"GOFLAGS": parallel, "GOWORK": "off", "GOEXPERIMENT": "", "GODEBUG": "", "GOFIPS140": "off",
	}
	if c.Cache != "" {
		decides["GOCACHE"] = c.Cache
	}
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if _, ours := decides[name]; !ours {
			env = append(env, v)
		}
	}
	for name, value := range decides {
		env = append(env, name+"="+value)
	}
	return env
}

// build compiles a package into out and reads what came.
func (c compiler) build(ctx context.Context, pkg, out string) (program, error) {
	name := filepath.Base(pkg)
	file := filepath.Join(out, c.Arch, name)
	// No VCS stamp: it's there or not depending on where the source lies.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+c.Version, "-o", file, pkg)
	cmd.Dir, cmd.Env = c.Dir, c.environment()
	if said, err := cmd.CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("building %s for %s: %w\n%s", pkg, c.Arch, err, said)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return program{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return program{}, err
	}
	return program{Name: name, Content: content, Info: info}, nil
}

// module is where a module that is built in lies on this machine.
type module struct {
	Path    string
	Version string
	Dir     string
	Main    bool
	Replace *module
}

// modules are those that the packages are made of, by path.
func (c compiler) modules(ctx context.Context, pkgs []string) (map[string]module, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=Module"}, pkgs...)...)
	cmd.Dir, cmd.Env = c.Dir, c.environment()
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, said.String())
	}
	all := map[string]module{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ Module *module }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		if p.Module != nil {
			all[p.Module.Path] = *p.Module
		}
	}
}

// goRoot is the directory of the compiler that builds.
func (c compiler) goRoot(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir, cmd.Env = c.Dir, c.environment()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
