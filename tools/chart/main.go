// Command chart makes values.schema.json and README.md of charts/sealedge out of
// its values.yaml, whose comments explain every key, and out of the daemon's
// reference configuration, and the list of the keys that nodes take up while they run; "go generate" runs it. Its tests render the chart with
// helm, for which "go run ./tools/chart helm" builds the version that they want,
// once, in the user's cache.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/sealedge/sealedge/edge/config"
)

//go:generate go run . generate ../../charts/sealedge

// helmVersion is that of the helm which the tests run.
const helmVersion = "v3.19.0"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chart: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "generate":
		return generate(args[1])
	case len(args) == 1 && args[0] == "helm":
		path, err := buildHelm(ctx)
		if err == nil {
			fmt.Println(path)
		}
		return err
	}
	return fmt.Errorf("say \"generate DIR\" or \"helm\"")
}

// made are the files of the chart that are made.
func made(dir string) (map[string][]byte, error) {
	values, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	if err != nil {
		return nil, err
	}
	chart, err := os.ReadFile(filepath.Join(dir, "Chart.yaml"))
	if err != nil {
		return nil, err
	}
	page, err := readme(values, chart)
	if err != nil {
		return nil, err
	}
	rules, err := schema(values)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"README.md": page, "values.schema.json": rules, "templates/_reloadable.tpl": reloadable()}, nil
}

// reloadable tells the templates which keys nodes take up while they run.
func reloadable() []byte {
	var b strings.Builder
	b.WriteString("{{/* Made by \"go generate ./tools/chart\": the keys that nodes take up while they run. */}}\n{{- define \"sealedge.reloadable\" -}}\n")
	for _, key := range config.Reloadable() {
		b.WriteString("- " + key + "\n")
	}
	b.WriteString("{{- end -}}\n")
	return []byte(b.String())
}

func generate(dir string) error {
	files, err := made(dir)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// helmPath is where buildHelm puts helm.
func helmPath() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "sealedge", "helm", helmVersion, "helm"), err
}

// buildHelm builds helm, unless it is there.
func buildHelm(ctx context.Context) (string, error) {
	path, err := helmPath()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	cmd := exec.CommandContext(ctx, "go", "install", "helm.sh/helm/v3/cmd/helm@"+helmVersion)
	cmd.Dir = os.TempDir() // outside of the module
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(path), "GOFLAGS=", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go install helm: %w", err)
	}
	return path, nil
}
