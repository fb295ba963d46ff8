package main

import (
	"bytes"
	"crypto/sha1" // SPDX asks for it beside SHA-256
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// sbom writes down what an image consists of, as SPDX 2.3. The modules are those
// that the linker wrote into the binaries, not those that go.mod asks for.
func (j job) sbom(m *made, roots int) ([]byte, error) {
	name := fmt.Sprintf("%s-%s-linux-%s", m.Kind.Name, j.Source.Version, m.Arch)
	d := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "https://github.com/sealedge/sealedge/spdx/" + name + "-" + m.Digest.Hex,
		Creation:  spdxCreation{Created: j.Source.Created.Format(time.RFC3339), Creators: []string{"Organization: sealedge", "Tool: sealedge-image"}},
	}
	const image, main = "SPDXRef-Image", "SPDXRef-Package-sealedge"
	d.relate(d.ID, "DESCRIBES", image)
	d.Packages = append(d.Packages,
		spdxPackage{
			ID: image, Name: j.Registry + "/" + m.Kind.Name, Version: j.Source.Version, Purpose: "CONTAINER",
			Supplier: "Organization: sealedge", Download: unknown, Analyzed: true, Verification: verificationCode(m.Files),
			Checksums: []spdxChecksum{{"SHA256", m.Digest.Hex}}, Concluded: unknown, Declared: unknown, Copyright: unknown,
			Refs: purl("pkg:oci/" + m.Kind.Name + "@" + url.QueryEscape(m.Digest.String()) + "?arch=" + m.Arch + "&repository_url=" + url.QueryEscape(j.Registry+"/"+m.Kind.Name)),
		},
		spdxPackage{
			ID: main, Name: m.Programs[0].Info.Main.Path, Version: j.Source.Version, Purpose: "APPLICATION",
			Supplier: "Organization: sealedge", Download: unknown, SourceInfo: "git commit " + j.Source.Revision,
			Concluded: unknown, Declared: "Apache-2.0", Copyright: unknown, Refs: purl(golang(m.Programs[0].Info.Main.Path, j.Source.Version)),
		},
	)
	d.relate(image, "CONTAINS", main)
	ids := map[string]string{}
	for _, c := range m.Components {
		id := "SPDXRef-Package-" + spdxID(c.Path+"-"+c.Version)
		if slices.Contains(sortedKeys(ids), id) {
			return nil, fmt.Errorf("two components are called %s", id)
		}
		ids[c.Path] = id
		p := spdxPackage{
			ID: id, Name: c.Path, Version: c.Version, Purpose: "LIBRARY", Supplier: unknown, Download: unknown,
			Concluded: unknown, Declared: c.Licence.Expression, Copyright: unknown, Refs: purl(golang(c.Path, c.Version)),
		}
		if c.Sum != "" {
			p.SourceInfo = "go.sum " + c.Sum
		}
		d.Packages = append(d.Packages, p)
		d.relate(image, "CONTAINS", id)
		for _, ref := range sortedKeys(c.Licence.Others) {
			d.Licences = append(d.Licences, spdxLicence{ref, c.Licence.Others[ref]})
		}
	}
	for _, f := range m.Files {
		if strings.HasSuffix(f.Path, "/") {
			continue
		}
		s := spdxFile{
			ID: "SPDXRef-File-" + spdxID(f.Path), Name: "./" + f.Path, Checksums: checksums(f.Content),
			Concluded: unknown, Copyright: unknown, Types: []string{"TEXT"},
		}
		if f.Path == rootsPath {
			s.Comment = fmt.Sprintf("%d CA roots, of the package ca-certificates of the machine that built", roots)
		}
		for _, p := range m.Programs {
			if f.Path == "usr/bin/"+p.Name {
				s.Types = []string{"BINARY"}
				d.links(s.ID, p, main, ids)
			}
		}
		d.Files = append(d.Files, s)
		d.relate(image, "CONTAINS", s.ID)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(d); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// links says what a binary was made of.
func (d *spdxDocument) links(binary string, p program, main string, ids map[string]string) {
	d.relate(binary, "GENERATED_FROM", main)
	d.relate(binary, "STATIC_LINK", ids["stdlib"])
	for _, dep := range p.Info.Deps {
		d.relate(binary, "STATIC_LINK", ids[dependency(dep).Path])
	}
}

func (d *spdxDocument) relate(from, how, to string) {
	d.Relationships = append(d.Relationships, spdxRelationship{from, how, to})
}

// spdxID makes an identifier of letters, digits, dots and hyphens.
func spdxID(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, s)
}

// golang is the package URL by which scanners know a module.
func golang(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

func purl(locator string) []spdxRef {
	return []spdxRef{{Category: "PACKAGE-MANAGER", Type: "purl", Locator: locator}}
}

func checksums(content []byte) []spdxChecksum {
	long, short := sha256.Sum256(content), sha1.Sum(content)
	return []spdxChecksum{{"SHA1", hex.EncodeToString(short[:])}, {"SHA256", hex.EncodeToString(long[:])}}
}

// verificationCode is the SHA-1 over the sorted SHA-1s of the files (SPDX 2.3, 7.9).
func verificationCode(files []file) *spdxVerification {
	var sums []string
	for _, f := range files {
		if !strings.HasSuffix(f.Path, "/") {
			sums = append(sums, checksums(f.Content)[0].Value)
		}
	}
	slices.Sort(sums)
	code := sha1.Sum([]byte(strings.Join(sums, "")))
	return &spdxVerification{Value: hex.EncodeToString(code[:])}
}
