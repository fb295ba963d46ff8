package address

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// tenureKey is the annotation that says in which tenure the slice was written.
const tenureKey = "sealedge.github.io/tenure"

// tenure is that of a holder: an epoch of the address, in a life of the cluster. The
// zero tenure is before all.
type tenure struct {
	life  int64
	epoch uint64
}

// after tells whether t began later than u.
func (t tenure) after(u tenure) bool {
	return t.life > u.life || t.life == u.life && t.epoch > u.epoch
}

// String is what parseTenure reads.
func (t tenure) String() string { return fmt.Sprintf("%d/%d", t.life, t.epoch) }

func parseTenure(s string) (t tenure, err error) {
	life, epoch, ok := strings.Cut(s, "/")
	if !ok {
		return t, errors.New("it has no /")
	}
	if t.life, err = strconv.ParseInt(life, 10, 64); err != nil {
		return t, err
	}
	t.epoch, err = strconv.ParseUint(epoch, 10, 64)
	return t, err
}

// endpointSlice is an EndpointSlice (discovery.k8s.io/v1) as the API server has it,
// with all that others put there.
type endpointSlice map[string]any

// check sees to it that it is one that can be replaced safely.
func (s endpointSlice) check() error {
	switch {
	case s["kind"] != "EndpointSlice" || s["apiVersion"] != "discovery.k8s.io/v1":
		return fmt.Errorf("the API server answers with a %v of %v, not with an EndpointSlice of discovery.k8s.io/v1", s["kind"], s["apiVersion"])
	case s["addressType"] != "IPv4":
		return fmt.Errorf("the EndpointSlice is for addresses of type %v; make it anew with addressType IPv4", s["addressType"])
	}
	if version, _ := s.metadata()["resourceVersion"].(string); version == "" {
		return errors.New("the EndpointSlice has no resourceVersion, so that it can't be replaced safely")
	}
	return nil
}

func (s endpointSlice) metadata() map[string]any {
	m, _ := s["metadata"].(map[string]any)
	return m
}

// tenure is that in which the slice was written, zero if it never was.
func (s endpointSlice) tenure() (t tenure, err error) {
	annotations, _ := s.metadata()["annotations"].(map[string]any)
	text, ok := annotations[tenureKey].(string)
	if !ok {
		return t, nil
	}
	if t, err = parseTenure(text); err != nil {
		return t, fmt.Errorf("the EndpointSlice's annotation %s is %q, which no node wrote; remove it", tenureKey, text)
	}
	return t, nil
}

// say makes the slice say endpoints and ports in a tenure, and tells whether it didn't.
// What a later API server may add to them is left alone.
func (s endpointSlice) say(t tenure, endpoints, ports []any) (changed bool) {
	annotations, _ := s.metadata()["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		s.metadata()["annotations"] = annotations
	}
	for key, want := range map[string]any{"endpoints": endpoints, "ports": ports} {
		if have, _ := s[key].([]any); !has(have, want) {
			s[key], changed = want, true
		}
	}
	if annotations[tenureKey] != t.String() {
		annotations[tenureKey], changed = t.String(), true
	}
	return changed
}

// has tells whether have is want, with perhaps more keys.
func has(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		for key := range want {
			ok = ok && has(have[key], want[key])
		}
		return ok
	case []any:
		have, ok := have.([]any)
		ok = ok && len(have) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = has(have[i], want[i])
		}
		return ok
	}
	return have == want
}

// endpoints are the pod alone, as the slice has it.
func (e Endpoint) endpoints() []any {
	one := map[string]any{
		"addresses":  []any{e.Address.String()},
		"conditions": map[string]any{"ready": true, "serving": true, "terminating": false},
		"targetRef":  map[string]any{"kind": "Pod", "name": e.Pod},
	}
	if e.Machine != "" {
		one["nodeName"] = e.Machine
	}
	return []any{one}
}

func (e Endpoint) ports() (all []any) {
	for _, p := range e.Ports {
		all = append(all, map[string]any{"name": p.Name, "port": json.Number(strconv.Itoa(int(p.Number))), "protocol": "UDP"})
	}
	return all
}
