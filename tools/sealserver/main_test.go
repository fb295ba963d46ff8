package main

import (
	"context"
	"os"
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
	})
}
