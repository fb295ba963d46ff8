package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
)

// What an alert says is whole, names nothing that it doesn't know, and tells where to
// go on.
func TestWhatAlertsSay(t *testing.T) {
	labels := map[string]map[string]string{} // of an alert as it fires in a test
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, test := range readScenarios(t, f).Tests {
			for _, a := range test.AlertRuleTest {
				for _, x := range a.ExpAlerts {
					labels[a.AlertName] = x.ExpLabels
				}
			}
		}
	}
	for name, a := range alerts(t) {
		if !strings.HasPrefix(name, "Sealedge") {
			t.Errorf("%s doesn't begin with Sealedge", name)
		}
		if s := a.Labels["severity"]; s != "page" && s != "ticket" || len(a.Labels) != 1 {
			t.Errorf("%s has the labels %v", name, a.Labels)
		}
		if a.Labels["severity"] == "page" && a.For == "" && !slices.Contains([]string{"SealedgeStatesDiffer", "SealedgeCertificateExpired"}, name) {
			t.Errorf("%s wakes somebody at once", name)
		}
		for key, least := range map[string]int{"summary": 20, "description": 80, "runbook_url": len(runbooksURL) + 4} {
			text := a.Annotations[key]
			said, err := render(text, labels[name])
			if err != nil || len(said) < least || strings.Contains(said, "no value") {
				t.Errorf("%s: %s is %q (%v)", name, key, said, err)
			}
		}
		if s := a.Annotations["summary"]; !strings.HasSuffix(s, ".") || len(s) > 140 {
			t.Errorf("%s: its summary is no short sentence: %q", name, s)
		}
		if d := a.Annotations["description"]; !strings.Contains(d, "{{ $labels.job }}") || !strings.Contains(d, "{{ $labels.namespace }}") {
			t.Errorf("%s doesn't say which cluster it is about: %q", name, d)
		}
	}
}

// render fills a template in as Prometheus does.
func render(text string, labels map[string]string) (string, error) {
	human := func(v float64) string { return fmt.Sprint(v) }
	parsed, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"humanize": human, "humanizePercentage": human, "humanizeDuration": human,
	}).Parse(`{{ $labels := .Labels }}{{ $value := .Value }}` + text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = parsed.Execute(&b, map[string]any{"Labels": labels, "Value": 0.5})
	return b.String(), err
}

// section is a part of a runbook: what stands under a heading, or before the first.
type section struct{ file, anchor string }

var (
	heading = regexp.MustCompile(`(?m)^## (.*)$`)
	named   = regexp.MustCompile("`(Sealedge[A-Za-z]+)`")
	slug    = regexp.MustCompile(`[^a-z0-9 -]`)
)

// announced reads which alerts each section of the runbooks says that it is for, in the
// line "**Alert.** ...".
func announced(t *testing.T) (by map[string]section, books []string) {
	t.Helper()
	by = map[string]section{}
	files, err := filepath.Glob(filepath.Join(root, runbookDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		book := filepath.Base(f)
		books = append(books, book)
		anchor := ""
		for line := range strings.Lines(string(raw)) {
			if m := heading.FindStringSubmatch(line); m != nil {
				anchor = "#" + strings.ReplaceAll(slug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
			}
			if !strings.HasPrefix(line, "**Alert.** ") {
				continue
			}
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				if other, twice := by[m[1]]; twice {
					t.Errorf("%s is announced in %v and in %s%s", m[1], other, book, anchor)
				}
				by[m[1]] = section{book, anchor}
			}
		}
	}
	return by, books
}

// Each alert leads to the section that is for it, and each runbook is led to.
func TestEachAlertHasARunbook(t *testing.T) {
	by, books := announced(t)
	led := map[string]bool{"restore.md": true} // led to by others
	for name, a := range alerts(t) {
		book, ok := strings.CutPrefix(a.Annotations["runbook_url"], runbooksURL)
		if !ok {
			t.Errorf("%s leads to %q", name, a.Annotations["runbook_url"])
			continue
		}
		s, ok := by[name]
		if !ok {
			t.Errorf("no runbook says that it is for %s", name)
		} else if want := s.file + s.anchor; book != want {
			t.Errorf("%s leads to %s, and %s is for it", name, book, want)
		}
		led[s.file] = true
		delete(by, name)
	}
	for name, s := range by {
		t.Errorf("%s is for %s, which is no alert", s.file, name)
	}
	for _, book := range books {
		if !led[book] {
			t.Errorf("no alert leads to %s", book)
		}
	}
}

// Links between the runbooks, and from the pages that are about them, lead somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	files, err := filepath.Glob(filepath.Join(root, runbookDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, filepath.Join(root, pageFile)) {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(raw), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			target := f
			if to != "" {
				target = filepath.Join(filepath.Dir(f), to)
			}
			text, err := os.ReadFile(target)
			if info, e := os.Stat(target); e == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s: %s leads nowhere", filepath.Base(f), m[1])
				continue
			}
			found := anchor == ""
			for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
				found = found || strings.ReplaceAll(slug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == anchor
			}
			if !found {
				t.Errorf("%s: %s has no heading for %s", filepath.Base(f), to, anchor)
			}
		}
	}
}

// The configuration of Prometheus that docs/monitoring.md shows is one that it takes.
func TestDocumentedConfigurationIsTaken(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, pageFile))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(string(raw), -1) {
		if !strings.Contains(m[1], "scrape_configs:") {
			continue
		}
		found++
		if out, err := promtool(t, ".", "check", "config", writeTemp(t, "prometheus.yml", []byte(m[1]))); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if found != 1 {
		t.Errorf("%d configurations are shown, want 1", found)
	}
}
