package main

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// kind is one of the images.
type kind struct {
	Name        string
	Title       string
	Description string
	Programs    []string // packages; the first is the entry point
	Command     []string // its arguments, if the user gives none
	Permits     uint64   // capabilities that the programs may be given
}

// catalogue is what is made. The gateway's image has the daemon alone: whoever
// gets into it finds neither the operators' client nor a simulated carrier.
var catalogue = []kind{
	{
		Name: "sealedge", Title: "sealedge", Description: "The gateway for seal use over a private APN",
		Programs: []string{"./edge/sealedge"}, Command: []string{"run", "/etc/sealedge/sealedge.yaml"},
		Permits: netAdmin | netRaw | perfmon | bpf,
	},
	{
		Name: "sealedge-tools", Title: "sealedge tools", Description: "sealctl, for operators, and sealsim, which simulates carrier, phone and barrel",
		Programs: []string{"./tools/sealctl", "./tools/sealsim"},
	},
	{
		Name: "sealserver", Title: "sealserver", Description: "The reference intranet seal server",
		Programs: []string{"./tools/sealserver"}, Command: []string{"serve", "--config", "/etc/sealedge/sealserver.yaml"},
	},
}

// job is one making of all images.
type job struct {
	Source   source
	Images   []kind
	Arches   []string
	Registry string // prefix of the names
	Roots    string
	Cache    string // of the compiler; empty for the usual one
	Log      func(format string, args ...any)
}

// made is one image of one architecture.
type made struct {
	Kind       kind
	Arch       string
	Image      v1.Image
	Digest     v1.Hash
	Files      []file
	Programs   []program
	Components []component
}

// component is something that an image is made of and somebody else wrote.
type component struct {
	Path    string // of the module; "stdlib" is Go's own
	Version string
	Sum     string // as in go.sum
	Licence licence
}

// make builds, packs and writes all images into out, which must not exist.
func (j job) make(ctx context.Context, out string) error {
	roots, n, err := readRoots(j.Roots)
	if err != nil {
		return err
	}
	j.Log("%s: %d CA roots", j.Roots, n)
	common, err := layer(base(roots), j.Source.Created)
	if err != nil {
		return err
	}
	w, err := newWriter(out, j)
	if err != nil {
		return err
	}
	for _, arch := range j.Arches {
		c := compiler{Dir: j.Source.Dir, Arch: arch, Version: j.Source.Version, Cache: j.Cache}
		shelf, err := c.shelf(ctx, j.Images)
		if err != nil {
			return err
		}
		for _, k := range j.Images {
			var programs []program
			for _, pkg := range k.Programs {
				began := time.Now()
				p, err := c.build(ctx, pkg, filepath.Dir(out))
				if err != nil {
					return err
				}
				j.Log("%s for %s in %s", p.Name, arch, time.Since(began).Round(time.Second))
				programs = append(programs, p)
			}
			m, err := j.assemble(k, arch, programs, shelf, base(roots), common)
			if err != nil {
				return err
			}
			if err := w.add(m, n); err != nil {
				return err
			}
		}
	}
	return w.close()
}

// shelf has the licences of everything that goes into the images, by path of module.
func (c compiler) shelf(ctx context.Context, images []kind) (map[string]licence, error) {
	var pkgs []string
	for _, k := range images {
		pkgs = append(pkgs, k.Programs...)
	}
	mods, err := c.modules(ctx, pkgs)
	if err != nil {
		return nil, err
	}
	root, err := c.goRoot(ctx)
	if err != nil {
		return nil, err
	}
	mods["stdlib"] = module{Path: "stdlib", Dir: root}
	shelf := map[string]licence{}
	for name, m := range mods {
		if m.Replace != nil {
			m.Dir = m.Replace.Dir
		}
		if shelf[name], err = readLicence(name, m.Dir); err != nil {
			return nil, fmt.Errorf("licence of %s: %w", name, err)
		}
	}
	return shelf, nil
}

// components lists what the programs are made of, by what they say themselves.
func components(programs []program, shelf map[string]licence) ([]component, error) {
	all := map[string]component{}
	for _, p := range programs {
		for _, d := range p.Info.Deps {
			c := dependency(d)
			lic, known := shelf[d.Path]
			if !known {
				return nil, fmt.Errorf("%s has %s built in, which its source doesn't import", p.Name, d.Path)
			}
			c.Licence = lic
			all[c.Path] = c
		}
		all["stdlib"] = component{Path: "stdlib", Version: strings.TrimPrefix(p.Info.GoVersion, "go"), Licence: shelf["stdlib"]}
	}
	var list []component
	for _, name := range sortedKeys(all) {
		list = append(list, all[name])
	}
	return list, nil
}

func dependency(d *debug.Module) component {
	if d.Replace != nil {
		d = d.Replace
	}
	return component{Path: d.Path, Version: d.Version, Sum: d.Sum}
}

// assemble makes the image of some programs.
func (j job) assemble(k kind, arch string, programs []program, shelf map[string]licence, below []file, common v1.Layer) (*made, error) {
	parts, err := components(programs, shelf)
	if err != nil {
		return nil, err
	}
	own := shelf[programs[0].Info.Main.Path]
	files := []file{
		{Path: "usr/share/licenses/sealedge/LICENSE", Mode: 0o644, Content: []byte(own.Text)},
		{Path: "usr/share/licenses/sealedge/third-party.txt", Mode: 0o644, Content: thirdParty(parts)},
	}
	for _, p := range programs {
		files = append(files, file{Path: "usr/bin/" + p.Name, Mode: 0o755, Content: p.Content, Permits: k.Permits})
	}
	top, err := layer(files, j.Source.Created)
	if err != nil {
		return nil, err
	}
	at := v1.Time{Time: j.Source.Created}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: arch, Created: at,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       fmt.Sprintf("%d:%d", nobody, nobody),
			Env:        []string{"PATH=/usr/bin"},
			WorkingDir: "/",
			Entrypoint: []string{path.Join("/usr/bin", programs[0].Name)},
			Cmd:        k.Command,
			StopSignal: "SIGTERM",
			Labels:     j.annotations(k),
		},
	})
	if err != nil {
		return nil, err
	}
	img, err = mutate.Append(img,
		mutate.Addendum{Layer: common, MediaType: types.OCILayer, History: v1.History{Created: at, CreatedBy: "tools/image: CA roots, users, directories"}},
		mutate.Addendum{Layer: top, MediaType: types.OCILayer, History: v1.History{Created: at, CreatedBy: "tools/image: programs and licences"}},
	)
	if err != nil {
		return nil, err
	}
	img = mutate.Annotations(img, j.annotations(k)).(v1.Image)
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	all := append(append([]file(nil), below...), files...)
	return &made{Kind: k, Arch: arch, Image: img, Digest: digest, Files: all, Programs: programs, Components: parts}, nil
}

// annotations say what an image is, in the names of the OCI image specification.
func (j job) annotations(k kind) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       k.Title,
		"org.opencontainers.image.description": k.Description,
		"org.opencontainers.image.version":     j.Source.Version,
		"org.opencontainers.image.revision":    j.Source.Revision,
		"org.opencontainers.image.created":     j.Source.Created.Format(time.RFC3339),
		"org.opencontainers.image.source":      "https://github.com/sealedge/sealedge",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

// thirdParty is what the licences of others ask to go with their work.
func thirdParty(parts []component) []byte {
	var b strings.Builder
	b.WriteString("The programs of this image have these Go modules built in, unchanged. Each can be had\nas source under its path and version.\n")
	for _, c := range parts {
		fmt.Fprintf(&b, "\n%s\n%s %s\n%s\n\n%s", strings.Repeat("=", 78), c.Path, c.Version, c.Licence.Expression, c.Licence.Text)
	}
	return []byte(b.String())
}
