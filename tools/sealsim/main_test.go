package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sealsim": func() { os.Exit(run(context.Background(), os.Args)) },
	})
}

// What a person types, and what he sees.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// fails CODE WORDS ARGUMENT...: it says so and ends with the exit code.
			"fails": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec("sealsim", args[2:]...)
				var exit *exec.ExitError
				if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] || !strings.Contains(ts.ReadFile("stderr"), args[1]) {
					ts.Fatalf("sealsim %q: %v, want exit code %s and %q", args[2:], err, args[0], args[1])
				}
			},
		},
	})
}
