package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// dashboard is one of Grafana's, as this tool describes it.
type dashboard struct {
	name, title, about string // name: of the file; the dashboard's own uid is that with sealedge- before it
	rows               []row
}

type row struct {
	title  string
	panels []panel
}

// panel shows what its queries answer. Those of a row stand side by side, and go on in
// the next line when the 24 columns are full.
type panel struct {
	title, about string
	kind         string // "timeseries", "stat", "heatmap" or "table"
	unit         string // as Grafana calls it
	width        int    // of 24; 0: 8
	queries      []query
	values       map[string]string // the words that stand for values
	most         float64           // the end of the axis; 0: by itself
	stacked      bool
	valued       bool // a table that shows the value, beside the labels
	// warn and alarm are the values from which it is coloured, upwards, or downwards if
	// alarm is below warn. Both 0: it isn't.
	warn, alarm float64
}

// query is an expression. In it {cluster} and {node} stand for the matchers by which the
// reader chose: cluster's series are those of all nodes, node's those of the chosen.
type query struct{ expr, legend string }

var chosen = strings.NewReplacer(
	"{cluster,", `{namespace=~"$namespace",job=~"$job",`, "{cluster}", `{namespace=~"$namespace",job=~"$job"}`,
	"{node,", `{namespace=~"$namespace",job=~"$job",instance=~"$instance",`, "{node}", `{namespace=~"$namespace",job=~"$job",instance=~"$instance"}`,
)

// fields is a JSON object.
type fields = map[string]any

const (
	schemaVersion = 39 // of Grafana 10.4 and later
	columns       = 24
	height        = 8
	statHeight    = 4
)

var datasource = fields{"type": "prometheus", "uid": "${datasource}"}

func (d dashboard) json() ([]byte, error) {
	var panels []fields
	id, y := 0, 0
	for _, r := range d.rows {
		id++
		panels = append(panels, fields{"id": id, "type": "row", "title": r.title, "collapsed": false, "panels": []any{}, "gridPos": grid(0, y, columns, 1)})
		y++
		x, line := 0, 0
		for _, p := range r.panels {
			w, h := p.size()
			if x+w > columns {
				x, y, line = 0, y+line, 0
			}
			id++
			made := p.json()
			made["id"], made["gridPos"] = id, grid(x, y, w, h)
			panels = append(panels, made)
			x, line = x+w, max(line, h)
		}
		y += line
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(fields{
		"uid": "sealedge-" + d.name, "title": d.title, "description": d.about, "tags": []string{"sealedge"}, "schemaVersion": schemaVersion, "version": 1,
		"editable": true, "graphTooltip": 1, "refresh": "30s", "timezone": "", "time": fields{"from": "now-3h", "to": "now"}, "fiscalYearStartMonth": 0,
		"links": []fields{{
			"type": "dashboards", "title": "sealedge", "tags": []string{"sealedge"}, "asDropdown": true, "includeVars": true, "keepTime": true,
			"icon": "external link", "targetBlank": false, "tooltip": "", "url": "",
		}},
		"annotations": fields{"list": []fields{{
			"name": "Change of holder", "datasource": datasource, "enable": true, "hide": false, "iconColor": "orange", "titleFormat": "{{gateway}} has another holder",
			"expr": chosen.Replace("changes(max by (gateway) (sealedge_gateway_address_epoch{cluster})[1m:]) > 0"),
		}}},
		"templating": fields{"list": []fields{
			{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0, "current": fields{}, "regex": ""},
			variable("namespace", "Namespace", `label_values(sealedge_build_info, namespace)`, true),
			variable("job", "Job", `label_values(sealedge_build_info{namespace=~"$namespace"}, job)`, false),
			variable("instance", "Node", `label_values(sealedge_build_info{namespace=~"$namespace",job=~"$job"}, instance)`, true),
		}},
		"panels": panels,
	})
	return b.Bytes(), err
}

// variable is one that the reader chooses. All of them is everything, so that sites
// without the label see something, too.
func variable(name, label, ask string, several bool) fields {
	v := fields{
		"name": name, "label": label, "type": "query", "datasource": datasource, "definition": ask, "refresh": 2, "sort": 1, "hide": 0,
		"query": fields{"query": ask, "refId": "variable"}, "multi": several, "includeAll": several, "current": fields{}, "regex": "", "options": []any{},
	}
	if several {
		v["allValue"] = ".*"
	}
	return v
}

func grid(x, y, w, h int) fields { return fields{"x": x, "y": y, "w": w, "h": h} }

func (p panel) size() (w, h int) {
	w, h = p.width, height
	if w == 0 {
		w = 8
	}
	if p.kind == "stat" {
		h = statHeight
	}
	return w, h
}

func (p panel) json() fields {
	var targets []fields
	for i, q := range p.queries {
		t := fields{
			"refId": string(rune('A' + i)), "datasource": datasource, "editorMode": "code", "expr": chosen.Replace(q.expr), "legendFormat": q.legend,
			"range": p.kind != "table" && p.kind != "stat", "instant": p.kind == "table" || p.kind == "stat",
		}
		switch p.kind {
		case "heatmap":
			t["format"], t["legendFormat"] = "heatmap", "{{le}}"
		case "table":
			t["format"] = "table"
		default:
			t["format"] = "time_series"
		}
		targets = append(targets, t)
	}
	defaults := fields{"unit": p.unit, "mappings": p.mappings(), "thresholds": p.thresholds(), "color": fields{"mode": "palette-classic"}, "custom": fields{}}
	if p.most > 0 {
		defaults["min"], defaults["max"] = 0, p.most
	}
	made := fields{
		"type": p.kind, "title": p.title, "description": p.about, "datasource": datasource, "targets": targets, "transparent": false,
		"fieldConfig": fields{"defaults": defaults, "overrides": []any{}},
	}
	switch p.kind {
	case "timeseries":
		custom := fields{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false, "stacking": fields{"mode": "none", "group": "A"}}
		if p.stacked {
			custom["stacking"], custom["fillOpacity"] = fields{"mode": "normal", "group": "A"}, 40
		}
		if p.warn != p.alarm {
			custom["thresholdsStyle"] = fields{"mode": "dashed"}
		}
		defaults["custom"] = custom
		made["options"] = fields{
			"legend":  fields{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []any{}},
			"tooltip": fields{"mode": "multi", "sort": "desc"},
		}
	case "stat":
		defaults["color"] = fields{"mode": "thresholds"}
		made["options"] = fields{
			"colorMode": "background", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto", "wideLayout": true,
			"reduceOptions": fields{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		}
	case "heatmap":
		made["options"] = fields{
			"calculate": false, "cellGap": 1, "legend": fields{"show": true}, "yAxis": fields{"unit": p.unit, "axisPlacement": "left", "reverse": false},
			"color":     fields{"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "scale": "exponential", "reverse": false},
			"rowsFrame": fields{"layout": "auto"}, "tooltip": fields{"mode": "single", "yHistogram": false}, "exemplars": fields{"color": "rgba(255,0,255,0.7)"},
			"filterValues": fields{"le": 1e-9}, "cellValues": fields{"unit": "short"}, "showValue": "never",
		}
	case "table":
		made["options"] = fields{"showHeader": true, "cellHeight": "sm", "footer": fields{"show": false, "reducer": []string{"sum"}, "countRows": false, "fields": ""}}
		made["transformations"] = []fields{{"id": "organize", "options": fields{"excludeByName": fields{"Time": true, "__name__": true, "Value": !p.valued}, "indexByName": fields{}, "renameByName": fields{}}}}
	default:
		panic(fmt.Sprintf("%s is a panel of an unknown kind %q", p.title, p.kind))
	}
	return made
}

func (p panel) mappings() []any {
	if len(p.values) == 0 {
		return []any{}
	}
	words := fields{}
	for value, text := range p.values {
		words[value] = fields{"text": text}
	}
	return []any{fields{"type": "value", "options": words}}
}

func (p panel) thresholds() fields {
	step := func(color string, from any) fields { return fields{"color": color, "value": from} }
	steps := []fields{step("green", nil)}
	switch {
	case p.alarm > p.warn:
		steps = append(steps, step("orange", p.warn), step("red", p.alarm))
	case p.alarm < p.warn: // below alarm it is red, from warn on green
		steps = []fields{step("red", nil), step("orange", p.alarm), step("green", p.warn)}
	}
	return fields{"mode": "absolute", "steps": steps}
}
