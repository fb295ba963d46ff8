package floorplan

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`^#{1,6} +(.*)$`)
	fence   = regexp.MustCompile("^ *(```|~~~)")
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// page is a document: where it leads, and the anchors that its headings have on the
// sites that show it.
type page struct {
	links   []string
	anchors map[string]bool
}

func readPage(text string) page {
	p := page{anchors: map[string]bool{}}
	code := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if fence.MatchString(line) {
			code = !code
		}
		if code {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			title := strings.NewReplacer("`", "", "*", "").Replace(link.ReplaceAllString(m[1], ""))
			p.anchors[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(title), ""), " ", "-")] = true
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			p.links = append(p.links, m[1])
		}
	}
	return p
}

func TestReadPage(t *testing.T) {
	p := readPage("# If it *fails*: `a_b` (c)\n```\n# no heading\n[no](link)\n```\n  [x](y.md#z), [w](../v)\n")
	if len(p.anchors) != 1 || !p.anchors["if-it-fails-a_b-c"] {
		t.Errorf("anchors %v", p.anchors)
	}
	if strings.Join(p.links, " ") != "y.md#z ../v" {
		t.Errorf("links %v", p.links)
	}
}

// TestLinks: what a page of ours refers to is there, and has that heading.
func TestLinks(t *testing.T) {
	root := "../.."
	pages := map[string]page{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "build" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		b, err := os.ReadFile(path)
		pages[path] = readPage(string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 20 {
		t.Fatalf("only %d pages were found", len(pages))
	}
	for path, p := range pages {
		for _, to := range p.links {
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(to, "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s refers to %s, which isn't there", path, to)
				continue
			}
			if anchor != "" && !pages[target].anchors[anchor] {
				t.Errorf("%s refers to %s, and %s has no such heading", path, to, target)
			}
		}
	}
}
