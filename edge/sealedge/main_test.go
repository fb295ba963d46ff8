package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sealedge": main})
}

// What a person types at the daemon, and what he sees.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// fails CODE ARGUMENT...: the daemon ends with this exit code.
			"fails": func(ts *testscript.TestScript, _ bool, args []string) { fails(ts, args[0], args[1:]...) },
			// break SED: what the daemon says of a configuration with a mistake
			// that a sed script makes, run or only checked.
			"break": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Exec("sed", args[0], "c/node1.yaml"))
				ts.Check(os.WriteFile(ts.MkAbs("c/broken.yaml"), []byte(ts.ReadFile("stdout")), 0o600))
				fails(ts, "2", "run", "c/broken.yaml")
				said := ts.ReadFile("stderr")
				fails(ts, "2", "check-config", "c/broken.yaml")
				if ts.ReadFile("stderr") != said {
					ts.Fatalf("run says something else:\n%s", said)
				}
			},
			// up HOST:PORT waits until somebody listens there.
			"up": func(ts *testscript.TestScript, _ bool, args []string) {
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
					c, err := net.Dial("tcp", args[0])
					if err == nil {
						_ = c.Close()
						return
					}
					if time.Now().After(deadline) {
						ts.Fatalf("nobody listens: %v", err)
					}
				}
			},
		},
	})
}

// fails runs the daemon, which must end with the exit code.
func fails(ts *testscript.TestScript, code string, args ...string) {
	err := ts.Exec("sealedge", args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != code {
		ts.Fatalf("sealedge %v: %v, want exit code %s", args, err, code)
	}
}
