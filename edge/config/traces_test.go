package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestTraces(t *testing.T) {
	cfg, err := loadText(t, string(Reference()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if tr := cfg.Telemetry.Traces; tr.Enabled() || tr.Ratio != 1 {
		t.Errorf("by default: %+v", tr)
	}
	for endpoint, want := range map[string]string{
		"http://127.0.0.1:4318":                "http://127.0.0.1:4318/v1/traces",
		"https://otel.example.com/":            "https://otel.example.com/v1/traces",
		"https://otel.example.com:4318/t/otlp": "https://otel.example.com:4318/t/otlp",
		"https://[fd00::1]:4318":               "https://[fd00::1]:4318/v1/traces",
	} {
		cfg, err := loadText(t, string(Reference()), map[string]string{"telemetry.traces.endpoint": endpoint, "telemetry.traces.ratio": "0.25"})
		if err != nil {
			t.Errorf("%s: %v", endpoint, err)
			continue
		}
		if tr := cfg.Telemetry.Traces; !tr.Enabled() || tr.Endpoint.String() != want || tr.Ratio != 0.25 {
			t.Errorf("%s became %s, ratio %v", endpoint, tr.Endpoint.String(), tr.Ratio)
		}
	}
}

// What is wrong with an address goes into the log, and the secret in it doesn't.
func TestCollectorTellsNoSecret(t *testing.T) {
	for _, endpoint := range []string{
		"https://gate:hunter2@otel.example.com", "https://otel.example.com/?token=hunter2", "grpc://gate:hunter2@otel.example.com", "https://gate:hunter2%@otel.example.com",
	} {
		_, err := loadText(t, string(Reference()), map[string]string{"telemetry.traces.endpoint": endpoint})
		if got := problemsOf(t, err); len(got) != 1 || strings.Contains(got[0], "hunter2") || !strings.Contains(got[0], "telemetry.traces.headers_file") {
			t.Errorf("%s: %v", endpoint, got)
		}
	}
}

// A token isn't sent where it can be read on the way.
func TestTracesKeepTheirHeaders(t *testing.T) {
	for endpoint, fine := range map[string]bool{
		"http://127.0.0.1:4318": true, "http://[::1]:4318": true, "https://otel.example.com": true,
		"http://otel.example.com:4318": false, "http://10.0.0.1:4318": false,
	} {
		_, err := loadText(t, string(Reference()), map[string]string{"telemetry.traces.endpoint": endpoint, "telemetry.traces.headers_file": "headers"})
		if got := problemsOf(t, err); fine != (len(got) == 0) || !fine && !strings.Contains(got[0], "could read the headers") {
			t.Errorf("%s: %v", endpoint, got)
		}
	}
}

func TestHeadersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "headers")
	tr := Traces{HeadersFile: Path(path)}
	if _, err := tr.Headers(); err == nil {
		t.Error("a file that isn't there is read")
	}
	for text, want := range map[string]map[string][]string{
		"": {},
		"# of the collector\n\nAuthorization: Bearer abc:def\r\nx-scope-orgid:  seals \nX-Scope-OrgID: gate": {
			"Authorization": {"Bearer abc:def"}, "X-Scope-Orgid": {"seals", "gate"},
		},
		"no header":          nil,
		"two words: x":       nil,
		"a: b\x00c":          nil,
		"Content-Type: text": nil,
		"host: other":        nil,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := tr.Headers()
		if want == nil {
			if err == nil {
				t.Errorf("%q gives %v", text, got)
			} else if strings.Contains(err.Error(), "b\x00c") || strings.Contains(err.Error(), "no header; no header") {
				t.Errorf("%q is quoted: %v", text, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(map[string][]string(got), want) {
			t.Errorf("%q gives %v, %v", text, got, err)
		}
	}
}
