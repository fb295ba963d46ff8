//go:build linux

package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
)

// image makes an image of a single static program on nothing, as an archive that
// "ctr images import" reads.
func image(program, name, archive string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	at := filepath.Base(program)
	layer, err := tarOf(map[string][]byte{at: content}, []string{at}, 0o755)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + at}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		return err
	}
	configName, layerName := digest(config)+".json", digest(layer)+"/layer.tar"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{name}, "Layers": []string{layerName}}})
	if err != nil {
		return err
	}
	all, err := tarOf(map[string][]byte{configName: config, layerName: layer, "manifest.json": manifest},
		[]string{configName, layerName, "manifest.json"}, 0o644)
	if err != nil {
		return err
	}
	return os.WriteFile(archive, all, 0o600)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func tarOf(files map[string][]byte, order []string, mode int64) ([]byte, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, name := range order {
		if err := t.WriteHeader(&tar.Header{Name: name, Size: int64(len(files[name])), Mode: mode}); err != nil {
			return nil, err
		}
		if _, err := t.Write(files[name]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), t.Close()
}
