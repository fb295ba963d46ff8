package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// board is a dashboard as Grafana reads it, as far as it matters here.
type board struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	Description   string `json:"description"`
	SchemaVersion int    `json:"schemaVersion"`
	Annotations   struct {
		List []struct {
			Name       string `json:"name"`
			Expr       string `json:"expr"`
			Datasource source `json:"datasource"`
		} `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID          int                      `json:"id"`
		Type        string                   `json:"type"`
		Title       string                   `json:"title"`
		Description string                   `json:"description"`
		GridPos     struct{ X, Y, W, H int } `json:"gridPos"`
		Datasource  source                   `json:"datasource"`
		FieldConfig struct {
			Defaults struct {
				Unit string `json:"unit"`
			} `json:"defaults"`
		} `json:"fieldConfig"`
		Targets []struct {
			RefID      string `json:"refId"`
			Expr       string `json:"expr"`
			Datasource source `json:"datasource"`
		} `json:"targets"`
	} `json:"panels"`
}

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

func shipped(t *testing.T) (all []board) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dashboardDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if want := "sealedge-" + strings.TrimSuffix(filepath.Base(f), ".json"); b.UID != want {
			t.Errorf("%s has the uid %s, want %s", f, b.UID, want)
		}
		all = append(all, b)
	}
	return all
}

// filled puts values in the place of variables.
var filled = strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$job", "sealedge", "$instance", "a|b")

// expressions are what a dashboard asks, by where it does.
func (b board) expressions() map[string]string {
	all := map[string]string{}
	for _, p := range b.Panels {
		for _, q := range p.Targets {
			all[p.Title+" "+q.RefID] = q.Expr
		}
	}
	for _, a := range b.Annotations.List {
		all["annotation "+a.Name] = a.Expr
	}
	return all
}

func writeTemp(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What is made is what is committed, and nothing else is there.
func TestMadeFilesAreCurrent(t *testing.T) {
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not current: run 'go generate ./tools/monitoring' (%v)", name, err)
		}
	}
	there, err := filepath.Glob(filepath.Join(root, dashboardDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range there {
		if _, ok := files[filepath.Join(dashboardDir, filepath.Base(name))]; !ok {
			t.Errorf("%s is made by nobody", name)
		}
	}
}

func TestDashboardsAreWhole(t *testing.T) {
	units := []string{"none", "short", "s", "bytes", "Bps", "pps", "reqps", "wps", "percentunit"}
	titles := map[string]bool{}
	for _, b := range shipped(t) {
		if titles[b.Title] || b.Title == "" || b.Description == "" || b.SchemaVersion != schemaVersion {
			t.Errorf("%q: described as %q, of schema %d", b.Title, b.Description, b.SchemaVersion)
		}
		titles[b.Title] = true
		var variables []string
		for _, v := range b.Templating.List {
			variables = append(variables, v.Name)
			if v.Name != "datasource" && !strings.HasPrefix(v.Definition, "label_values(sealedge_build_info") {
				t.Errorf("%s: $%s is asked by %q", b.Title, v.Name, v.Definition)
			}
		}
		if want := []string{"datasource", "namespace", "job", "instance"}; !slices.Equal(variables, want) {
			t.Errorf("%s: variables %q, want %q", b.Title, variables, want)
		}
		for _, a := range b.Annotations.List {
			if a.Datasource.UID != "${datasource}" {
				t.Errorf("%s: the annotation %s asks the data source %q", b.Title, a.Name, a.Datasource.UID)
			}
		}
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range b.Panels {
			where := fmt.Sprintf("%s: %s", b.Title, p.Title)
			if ids[p.ID] || p.ID == 0 {
				t.Errorf("%s has the id %d, as another", where, p.ID)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.X < 0 || g.W < 1 || g.H < 1 || g.X+g.W > columns {
				t.Errorf("%s stands at %+v", where, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok {
						t.Fatalf("%s lies on %s", where, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			if p.Title == "" || !strings.HasSuffix(p.Description, ".") && !strings.HasSuffix(p.Description, ")") {
				t.Errorf("%s is described as %q", where, p.Description)
			}
			if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
				t.Errorf("%s has the unit %q", where, p.FieldConfig.Defaults.Unit)
			}
			if len(p.Targets) == 0 {
				t.Errorf("%s asks nothing", where)
			}
			for _, q := range p.Targets {
				for _, s := range []source{p.Datasource, q.Datasource} {
					if s.Type != "prometheus" || s.UID != "${datasource}" {
						t.Errorf("%s asks the data source %+v", where, s)
					}
				}
				if !strings.Contains(q.Expr, `job=~"$job"`) || !strings.Contains(q.Expr, `namespace=~"$namespace"`) || strings.Count(q.Expr, "{") != strings.Count(q.Expr, `job=~"$job"`) {
					t.Errorf("%s asks for more than was chosen: %s", where, q.Expr)
				}
			}
		}
	}
}
