package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealedge/sealedge/edge/setup"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sealserver": func() { os.Exit(run(context.Background(), os.Args)) },
	})
}

// Each script in testdata begins with what 'sealedge init' makes: what a person
// types and what he sees.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			_, err := setup.Init(env.Getenv("WORK")+"/cluster", setup.Options{Nodes: 1, Now: time.Now()})
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// usage WORDS ARGUMENT...: the server says so and ends as one that was called wrongly.
			"usage": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec("sealserver", args[1:]...)
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != exitUsage || !strings.Contains(ts.ReadFile("stderr"), args[0]) {
					ts.Fatalf("sealserver %q: %v, want exit code %d and %q", args[1:], err, exitUsage, args[0])
				}
			},
		},
	})
}
