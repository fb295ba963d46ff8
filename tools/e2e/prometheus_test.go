package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// prometheus is a real one that watches a site with the chart's rules, whose pauses are
// left out.
type prometheus struct {
	*site
	address string
}

func (s *site) prometheus() *prometheus {
	s.Helper()
	needs(s.T, "prometheus")
	files, err := filepath.Glob(filepath.Join(module, "charts", "sealedge", "alerts", "*.yaml"))
	if err != nil || len(files) == 0 {
		s.Fatal(files, err)
	}
	pause := regexp.MustCompile(`(?m)^ +for: .*\n`)
	for _, f := range files {
		rules, err := os.ReadFile(f)
		if err != nil {
			s.Fatal(err)
		}
		s.write(s.file("rules-"+filepath.Base(f)), pause.ReplaceAllString(string(rules), ""))
	}
	var targets []string
	for n := range s.nodes {
		targets = append(targets, strconv.Quote(s.telemetry(n)))
	}
	s.write(s.file("prometheus.yml"), fmt.Sprintf(`global: {scrape_interval: 3s, evaluation_interval: 1s} # a node without a quorum takes a second to say so
rule_files: [rules-*.yaml]
scrape_configs:
  - job_name: whatever
    static_configs: [{targets: [%s]}]
`, strings.Join(targets, ", ")))
	p := &prometheus{site: s, address: fmt.Sprintf("%s:9090", s.ip(4, 1))}
	start(s.T, s.dir, "prometheus", exec.Command("prometheus", "--config.file", s.file("prometheus.yml"),
		"--storage.tsdb.path", s.file("tsdb"), "--web.listen-address", p.address, "--log.level", "warn"))
	return p
}

// ask has Prometheus answer.
func (p *prometheus) ask(path string, query url.Values, out any) (ok bool) {
	p.Helper()
	code, body := p.fetch("http://" + p.address + "/api/v1/" + path + "?" + query.Encode())
	if code == 0 || code == http.StatusServiceUnavailable { // it isn't up yet
		return false
	}
	answer := struct {
		Status, Error string
		Data          json.RawMessage
	}{}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != http.StatusOK {
		p.Fatalf("%s: %d %s", path, code, body)
	}
	if answer.Status != "success" {
		return false
	}
	if err := json.Unmarshal(answer.Data, out); err != nil {
		p.Fatal(err)
	}
	return true
}

// rule is what Prometheus says of one.
type rule struct {
	Name, Health, LastError string
	Alerts                  []struct {
		State               string
		Labels, Annotations map[string]string
	}
}

// rules are all, as evaluated last; nil: not yet.
func (p *prometheus) rules() map[string]rule {
	p.Helper()
	var answer struct {
		Groups []struct{ Rules []rule }
	}
	if !p.ask("rules", nil, &answer) {
		return nil
	}
	all := map[string]rule{}
	for _, g := range answer.Groups {
		for _, r := range g.Rules {
			all[r.Name] = r
			if r.Health == "err" {
				p.Fatalf("%s: %s", r.Name, r.LastError)
			}
			for _, a := range r.Alerts {
				for key, text := range a.Annotations {
					if strings.Contains(text, "<error") || strings.Contains(text, "no value") {
						p.Fatalf("%s: %s is %q", r.Name, key, text)
					}
				}
			}
		}
	}
	return all
}

// awaits waits until some alerts fire and others don't.
func (p *prometheus) awaits(what string, fire, quiet []string) {
	p.Helper()
	p.until(what, func() bool {
		all := p.rules()
		for _, name := range fire {
			if len(all[name].Alerts) == 0 || all[name].Alerts[0].State != "firing" {
				return false
			}
		}
		for _, name := range quiet {
			if r, ok := all[name]; !ok || r.Health != "ok" || len(r.Alerts) > 0 {
				return false
			}
		}
		return true
	})
}

// A real Prometheus with the chart's rules watches real nodes: nothing is wrong while
// they live; a dead one is noticed, and the lost quorum when there are two; and all is
// well when they are back. The dashboards' questions have answers.
func TestPrometheusWatchesTheCluster(t *testing.T) {
	t.Parallel()
	needs(t, "prometheus")
	s := monitored(t)
	p := s.prometheus()
	oneDead := []string{"SealedgeNodeDown", "SealedgeMemberNotHeard", "SealedgeNoSpareNode"}
	noQuorum := []string{"SealedgeQuorumLost", "SealedgeGatewayAddressNotHeld"}
	elsewhere := []string{"SealedgeNotScraped", "SealedgeAdmissionsStopped", "SealedgeCertificateExpired", "SealedgeCertificateUnreadable", "SealedgeStatesDiffer", "SealedgeVersionSkew"}
	all := slices.Concat(oneDead, noQuorum, elsewhere, []string{"SealedgeNodeNotReady"})
	s.until("each node is scraped", func() bool {
		var up struct{ Result []struct{ Value [2]any } }
		return p.ask("query", url.Values{"query": {"sum(up) == 3"}}, &up) && len(up.Result) == 1
	})
	p.awaits("nothing is wrong", nil, all)
	p.panels()

	leader := s.held()
	first, second := (leader+1)%3, (leader+2)%3
	s.nodes[first].kill()
	p.awaits("the dead node is noticed, and the others serve", oneDead, append(noQuorum, elsewhere...))
	s.until("the alert says which node it is", func() bool {
		for _, a := range p.rules()["SealedgeNodeDown"].Alerts {
			if a.State == "firing" && a.Labels["instance"] == s.telemetry(first) && a.Labels["job"] == "whatever" && strings.Contains(a.Annotations["summary"], s.telemetry(first)) {
				return true
			}
		}
		return false
	})
	s.nodes[second].kill()
	p.awaits("the lost quorum is noticed", append(noQuorum, "SealedgeNodeDown"), append(elsewhere, "SealedgeNodeNotReady")) // which says nothing that a lost quorum doesn't
	s.startNode(first)
	s.startNode(second)
	p.awaits("all is well again", nil, all)
}

// panels has Prometheus answer what the dashboards ask. Each question is understood; and
// what nodes always export has an answer, so that no panel is empty for a mistake.
func (p *prometheus) panels() {
	p.Helper()
	files, err := filepath.Glob(filepath.Join(module, "charts", "sealedge", "dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		p.Fatal(files, err)
	}
	// What there is only with traffic, a fallback path, a backup or an alert.
	rare := regexp.MustCompile(`sealedge_gtp_procedure|> 0|ALERTS|sealedge_wireguard_(bytes|packets)|sealedge_connection|sealedge_hotspot|sealedge_backup|sealedge_traces|histogram_quantile`)
	filled := strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*", "$job", "whatever", "$instance", ".*")
	asked := 0
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			p.Fatal(err)
		}
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(raw, &board); err != nil {
			p.Fatal(err)
		}
		for _, panel := range board.Panels {
			for _, q := range panel.Targets {
				asked++
				query := url.Values{"query": {filled.Replace(q.Expr)}}
				p.until(panel.Title+" has an answer: "+q.Expr, func() bool {
					var answer struct{ Result []json.RawMessage }
					return p.ask("query", query, &answer) && (len(answer.Result) > 0 || rare.MatchString(q.Expr))
				})
			}
		}
	}
	if asked < 50 {
		p.Errorf("only %d questions were asked", asked)
	}
}
