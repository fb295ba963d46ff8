package main

import (
	"fmt"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/edge/config"
)

const checksum = "checksum/config"

// another is a value of a daemon's key that is neither its default nor in the minimal
// values, as --set takes it.
func another(t *testing.T, v value) string {
	t.Helper()
	words, few := choices[v.Path]
	switch {
	case few:
		return fmt.Sprint(words[0])
	case v.Node.Kind == yaml.SequenceNode:
		return "{203.0.113.7}"
	case v.Node.Tag == "!!int":
		return "77"
	case v.Node.Tag == "!!bool":
		return map[string]string{"true": "false", "false": "true"}[v.Node.Value]
	case isSpan(v.Node.Value):
		return "7m"
	}
	t.Fatalf("%s: how is it changed?", v.Path)
	return ""
}

// What nodes take up while they run gets to them by the ConfigMap, and replaces no
// pod; any other key does.
func TestWhatIsTakenUpReplacesNoPod(t *testing.T) {
	taken := map[string]bool{}
	for _, key := range config.Reloadable() {
		taken[key] = true
	}
	if !taken["log.level"] || !taken["gateway.gtp.allowed_peers"] || taken["gateway.gtp.t3"] {
		t.Fatalf("reloadable are %v", taken)
	}
	reference, err := parse(config.Reference())
	if err != nil {
		t.Fatal(err)
	}
	before := decoded(t, "minimal")
	reference.each(func(v value) {
		others := v.Path == "gateway.gtp.t3" || v.Path == "gateway.gtp.n3" || v.Path == "radius.port" || v.Path == "admin.streams" || v.Path == "log.format"
		if isManaged(v.Path) || !taken[v.Path] && !others {
			return
		}
		t.Run(v.Path, func(t *testing.T) {
			set := "config." + v.Path + "=" + another(t, v)
			if v.Path == "log.format" {
				set = "config.log.format=text"
			}
			stdout, stderr, ok := call(t, "template", "seals", chartDir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile("minimal"), "--set", set)
			if !ok {
				t.Fatal(stderr)
			}
			after, err := decode(stdout)
			if err != nil {
				t.Fatal(err)
			}
			if after.Config.Data["sealedge.yaml"] == before.Config.Data["sealedge.yaml"] {
				t.Fatalf("--set %s changes nothing", set)
			}
			same := after.Nodes.Spec.Template.Annotations[checksum] == before.Nodes.Spec.Template.Annotations[checksum]
			if same != taken[v.Path] {
				t.Errorf("--set %s: the pods stay: %v, and nodes take it up: %v", set, same, taken[v.Path])
			}
			delete(taken, v.Path)
		})
	})
	for path := range taken {
		if !isManaged(path) {
			t.Errorf("%s wasn't tried", path)
		}
	}
}

// The list that the templates have is the daemon's.
func TestTheTemplatesKnowWhatIsTakenUp(t *testing.T) {
	text := string(reloadable())
	for _, key := range config.Reloadable() {
		if !strings.Contains(text, "\n- "+key+"\n") {
			t.Errorf("%s isn't in %s", key, text)
		}
	}
}
