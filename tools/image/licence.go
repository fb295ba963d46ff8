package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([.-].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^(notice|patents|authors)([.-].*)?$`)
)

// unknown is what SPDX calls a licence that nobody could tell.
const unknown = "NOASSERTION"

// covered is how much of a licence file has to be known words, in per cent,
// for the file to be the licence that it looks like. The rest are copyright lines.
const covered = 75

// licence is what a module may be used under.
type licence struct {
	Expression string            // SPDX
	Text       string            // the files, to go with the binary
	Others     map[string]string // files of licences that have no SPDX identifier, by the name that Expression has for them
}

// readLicence recognizes the licence files at the root of a module. The module
// is under the one without anything to its name (LICENSE, COPYING.md). The others
// (LICENSE-GO) are of parts of it, and there a text of its own is taken as it is.
func readLicence(path, dir string) (licence, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return licence{}, err
	}
	var (
		ids  []string
		text strings.Builder
		lic  = licence{Others: map[string]string{}}
		own  bool
	)
	for _, e := range entries {
		kind := licenceFile.FindStringSubmatch(e.Name())
		if !e.Type().IsRegular() || kind == nil && !noticeFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return licence{}, err
		}
		fmt.Fprintf(&text, "--- %s\n%s\n", e.Name(), strings.TrimRight(string(content), "\n"))
		if kind == nil {
			continue
		}
		found := recognize(content)
		switch whole := kind[2] == "" || kind[2] == ".md" || kind[2] == ".txt"; {
		case whole && len(found) > 0:
			own = true
		case whole:
			ids = append(ids, unknown)
		case len(found) == 0:
			ref := "LicenseRef-" + spdxID(path+"-"+e.Name())
			lic.Others[ref] = string(content)
			found = []string{ref}
		}
		ids = append(ids, found...)
	}
	lic.Text = text.String()
	if !own || slices.Contains(ids, unknown) {
		return licence{Expression: unknown, Text: lic.Text}, nil
	}
	slices.Sort(ids)
	lic.Expression = strings.Join(slices.Compact(ids), " AND ")
	return lic, nil
}

// recognize lists the SPDX identifiers of the licences in a text; none if the text
// says more than they.
func recognize(text []byte) []string {
	cover := licensecheck.Scan(text)
	if cover.Percent < covered {
		return nil
	}
	var ids []string
	for _, m := range cover.Match {
		if !m.IsURL {
			ids = append(ids, m.ID)
		}
	}
	return ids
}
