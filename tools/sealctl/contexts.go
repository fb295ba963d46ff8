package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// A person's contexts are files of one directory, NAME.yaml; the file current
// beside them has the name of the one that is used where nothing else is said.

const (
	contextSuffix = ".yaml"
	currentFile   = "current"
	nearbyContext = "sealctl.yaml" // what 'sealedge init' writes
)

var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// contextDir is where the person's contexts are; it needn't exist.
func contextDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", &hinted{exitUsage, fmt.Sprintf("there is no place for contexts: %v", err), "set XDG_CONFIG_HOME, or name a file with --context FILE"}
	}
	return filepath.Join(dir, "sealctl"), nil
}

// kept is the file of a context that has a name.
func kept(name string) (string, error) {
	dir, err := contextDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name+contextSuffix), nil
}

// currentContext is the name of the context that was chosen with 'context use';
// empty: none was.
func currentContext() string {
	dir, err := contextDir()
	if err != nil {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(dir, currentFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// contextFile is the file of the context to use: --context or SEALCTL_CONTEXT, a
// NAME before a FILE; else the one that was chosen; else sealctl.yaml, if it is
// here. Empty: there is none.
func contextFile(c *cli.Context) (string, error) {
	if said := c.String("context"); said != "" {
		return contextNamed(said)
	}
	if name := currentContext(); name != "" {
		return kept(name)
	}
	if _, err := os.Stat(nearbyContext); err == nil {
		return nearbyContext, nil
	}
	return "", nil
}

func contextNamed(said string) (string, error) {
	if !contextName.MatchString(said) {
		return said, nil
	}
	file, err := kept(said)
	if err == nil && exists(file) {
		return file, nil
	}
	if exists(said) {
		return said, nil
	}
	names, _ := contextNames()
	return "", &hinted{exitUsage, fmt.Sprintf("there is no context %q", said) + didYouMean(said, names), "see 'sealctl context list', or name a file"}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// contextNames are the person's contexts, in order.
func contextNames() ([]string, error) {
	dir, err := contextDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, &hinted{exitUsage, err.Error(), ""}
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), contextSuffix); ok && contextName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
