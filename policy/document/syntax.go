package document

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax turns the parser's error into a mistake at the right line.
//
// The parser names, if any, the line where the construct began that it could
// not finish, and one too few at that. That helps for a bracket that is never
// closed. For all else the line is where it went wrong: the last of the
// shortest beginning of the document that has this very error.
func (d *Document) syntax(raw []byte, err error) {
	m := Mistake{Text: yamlError.ReplaceAllString(err.Error(), ""), Mend: "mend the YAML syntax"}
	m.Line, _ = strconv.Atoi(yamlError.FindStringSubmatch(err.Error())[1])
	switch {
	case strings.Contains(m.Text, "expected ',' or"):
		m.Line++
		m.Mend = "close the bracket"
	case strings.Contains(m.Text, "end of stream"):
		m.Mend = "close the quotation"
	default:
		m.Line = lineOf(raw, m.Text)
	}
	d.add(m)
}

func lineOf(raw []byte, text string) int {
	lines := bytes.SplitAfter(raw, []byte("\n"))
	n := sort.Search(len(lines), func(n int) bool {
		dec := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:n+1], nil)))
		for {
			err := dec.Decode(new(yaml.Node))
			if err != nil {
				return !errors.Is(err, io.EOF) && yamlError.ReplaceAllString(err.Error(), "") == text
			}
		}
	})
	return min(n, len(lines)-1) + 1
}
