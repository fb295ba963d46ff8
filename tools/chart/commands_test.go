package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// words are those that a program's source has as names of commands and flags. A command
// line can't be imported.
func words(t *testing.T, program string) map[string]bool {
	t.Helper()
	dir := map[string]string{"/usr/bin/sealedge": "../../edge/sealedge", "/usr/bin/sealctl": "../sealctl", "/usr/bin/sealsim": "../sealsim"}[program]
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: where is its source? %v", program, err)
	}
	known := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Name: +"([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
			known[m[1]] = true
		}
	}
	return known
}

// commands are the command lines of a rendering: the image's own program where a
// container names none.
func (o *objects) commands() (all [][]string) {
	pods := []*corev1.PodSpec{&o.Nodes.Spec.Template.Spec}
	if o.Backup != nil {
		pods = append(pods, &o.Backup.Spec.JobTemplate.Spec.Template.Spec)
	}
	if o.Test != nil {
		pods = append(pods, &o.Test.Spec)
	}
	for _, j := range o.Jobs {
		pods = append(pods, &j.Spec.Template.Spec)
	}
	for _, p := range pods {
		for _, c := range p.Containers {
			command := c.Command
			if len(command) == 0 {
				command = []string{"/usr/bin/sealedge"}
			}
			all = append(all, append(append([]string{}, command...), c.Args...))
			if c.Lifecycle != nil {
				all = append(all, c.Lifecycle.PreStop.Exec.Command)
			}
		}
	}
	return all
}

// Every flag that the chart says, and the first command, is one of the program that it
// says it to.
func TestProgramsKnowWhatTheyAreTold(t *testing.T) {
	seen := map[string]bool{}
	for _, set := range []string{"replicas=3,operator.existingSecret=op", restoring, "recover.enabled=true,recover.sessionsLost=true"} {
		o, refused := upgrade(t, release(5, 5), "-f", valuesFile("full"), "--set", "pki.existingSecret=,"+set)
		if refused != "" {
			t.Fatal(refused)
		}
		for _, line := range o.commands() {
			known := words(t, line[0])
			verb := ""
			for _, word := range line[1:] {
				flag, isFlag := strings.CutPrefix(word, "--")
				flag, _, _ = strings.Cut(flag, "=")
				if !isFlag && verb == "" {
					verb = word
				}
				if (isFlag || word == verb) && !known[flag] {
					t.Errorf("%s knows no %s: %q", line[0], word, line)
				}
			}
			seen[filepath.Base(line[0])+" "+verb] = true
		}
	}
	for _, line := range []string{"sealedge run", "sealedge drain", "sealedge restore", "sealedge recover", "sealctl backup", "sealctl cluster", "sealsim check"} {
		if !seen[line] {
			t.Errorf("%s wasn't among what the chart says: %v", line, seen)
		}
	}
}
