package barrel

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
)

func TestNew(t *testing.T) {
	good := Config{
		Cluster: usetest.New(t, time.Now), PSK: func(*command.Barrel) ([]byte, error) { return nil, nil },
		Certificate: func() (*tls.Certificate, error) { return nil, nil }, ClientCAs: x509.NewCertPool(),
		Leading: func() bool { return true }, Logger: slog.New(slog.DiscardHandler),
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(c *Config){
		"cluster":     func(c *Config) { c.Cluster = nil },
		"PSK":         func(c *Config) { c.PSK = nil },
		"certificate": func(c *Config) { c.Certificate = nil },
		"CAs":         func(c *Config) { c.ClientCAs = nil },
		"leading":     func(c *Config) { c.Leading = nil },
		"logger":      func(c *Config) { c.Logger = nil },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("without %s: no error", name)
		}
	}
}
