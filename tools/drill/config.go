package drill

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// canaryFile is a canary's configuration as it is written down.
type canaryFile struct {
	Address string        `yaml:"address"`
	Gateway string        `yaml:"gateway"`
	Inner   string        `yaml:"inner"`
	APN     string        `yaml:"apn"`
	PLMN    string        `yaml:"plmn"`
	Every   time.Duration `yaml:"every"`
	// Sessions and Churn are subscribers on the allow-list that nobody else uses.
	Sessions []canarySIM `yaml:"sessions"`
	Churn    []canarySIM `yaml:"churn"`
}

type canarySIM struct {
	IMSI string `yaml:"imsi"`
	IMEI string `yaml:"imei"`
}

// ReadCanary reads a canary's configuration (docs/drills.md).
func ReadCanary(file string) (c CanaryConfig, err error) {
	var f canaryFile
	if err := readYAML(file, &f); err != nil {
		return c, err
	}
	for _, a := range []struct {
		key, text string
		into      *netip.Addr
	}{{"address", f.Address, &c.Address}, {"gateway", f.Gateway, &c.Gateway}, {"inner", f.Inner, &c.Inner}} {
		if *a.into, err = netip.ParseAddr(a.text); err != nil || !a.into.Is4() {
			return c, fmt.Errorf("%s: %s: want an IPv4 address, not %q", file, a.key, a.text)
		}
	}
	if len(f.Sessions) == 0 {
		return c, fmt.Errorf("%s: sessions: name at least one subscriber, with imsi and imei", file)
	}
	c.Every = f.Every
	for i, sim := range append(slices.Clone(f.Sessions), f.Churn...) {
		s, err := subscriber(sim.IMSI, sim.IMEI, f.APN, f.PLMN)
		if err != nil {
			return c, fmt.Errorf("%s: subscriber %d: %w", file, i+1, err)
		}
		if i < len(f.Sessions) {
			c.Sessions = append(c.Sessions, s)
		} else {
			c.Churn = append(c.Churn, s)
		}
	}
	return c, nil
}

// ReadHooks reads commands by action.
func ReadHooks(file string) (Hooks, error) {
	h := Hooks{}
	if err := readYAML(file, &h); err != nil {
		return nil, err
	}
	for a := range h {
		if !slices.Contains(Actions(), a) {
			return nil, fmt.Errorf("%s: there is no action %q; there are %v", file, a, Actions())
		}
	}
	return h, nil
}

func readYAML(file string, into any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		return errors.Join(fmt.Errorf("%s can't be understood", file), err)
	}
	return nil
}
