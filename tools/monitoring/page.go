package main

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// What is made of docs/monitoring.md stands between these lines.
const (
	pageBegin = "<!-- Made by go generate ./tools/monitoring. -->\n"
	pageEnd   = "<!-- End of the part that is made. -->\n"
)

// runbooksURL is where the runbooks are for whoever gets an alert.
const runbooksURL = "https://github.com/sealedge/sealedge/blob/main/docs/runbooks/"

// page is docs/monitoring.md with the table of alerts that there are.
func page(old []byte, groups []group) ([]byte, error) {
	head, rest, ok := bytes.Cut(old, []byte(pageBegin))
	_, tail, ok2 := bytes.Cut(rest, []byte(pageEnd))
	if !ok || !ok2 {
		return nil, errors.New(pageFile + " lacks the lines between which the table of alerts stands")
	}
	var b bytes.Buffer
	b.Write(head)
	b.WriteString(pageBegin)
	symptomsFirst := func(a, b group) int { return strings.Compare(b.Name, a.Name) }
	for _, g := range slices.SortedFunc(slices.Values(groups), symptomsFirst) {
		fmt.Fprintf(&b, "\n`%s`:\n\n| alert | severity | after | it says | runbook |\n|---|---|---|---|---|\n", g.Name)
		for _, a := range g.Rules {
			after := a.For
			if after == "" {
				after = "at once"
			}
			book := strings.TrimPrefix(a.Annotations["runbook_url"], runbooksURL)
			name, _, _ := strings.Cut(path.Base(book), ".md")
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | [%s](runbooks/%s) |\n", a.Alert, a.Labels["severity"], after, plain(a.Annotations["summary"]), name, book)
		}
	}
	b.WriteString("\n")
	b.WriteString(pageEnd)
	b.Write(tail)
	return b.Bytes(), nil
}

// plain is a template's text with the names of what is put in.
func plain(template string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(template, "{{")
		b.WriteString(before)
		if !ok {
			return strings.ReplaceAll(b.String(), "|", `\|`)
		}
		expr, after, _ := strings.Cut(rest, "}}")
		word := strings.TrimPrefix(strings.Fields(expr)[0], "$labels.")
		if word == "$value" {
			word = "N"
			if slices.Contains(strings.Fields(expr), "humanizePercentage") {
				word = "N%"
			}
		}
		b.WriteString("*" + word + "*")
		template = after
	}
}
