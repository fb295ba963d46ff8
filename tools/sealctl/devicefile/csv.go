package devicefile

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// plainText takes the mark away that some programs put before UTF-8, and refuses
// what is no UTF-8.
func plainText(doc []byte) ([]byte, error) {
	if bytes.HasPrefix(doc, []byte{0xff, 0xfe}) || bytes.HasPrefix(doc, []byte{0xfe, 0xff}) {
		return nil, errors.New("1: the file is UTF-16; save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")")
	}
	doc = bytes.TrimPrefix(doc, []byte("\ufeff"))
	for at, line := 0, 1; at < len(doc); {
		r, size := utf8.DecodeRune(doc[at:])
		switch {
		case r == utf8.RuneError && size == 1:
			return nil, fmt.Errorf("%d: the file is no UTF-8; save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")", line)
		case r == 0:
			return nil, fmt.Errorf("%d: the file has a zero byte, so it is no text", line)
		case r == '\n':
			line++
		}
		at += size
	}
	return doc, nil
}

// delimiter is what separates the cells of a header: spreadsheets take another one
// where numbers have decimal commas.
func delimiter(doc []byte) rune {
	header, _, _ := bytes.Cut(doc, []byte("\n"))
	if i := bytes.IndexAny(header, ",;\t"); i >= 0 {
		return rune(header[i])
	}
	return ','
}

// readCSV reads a header and rows. Errors begin with a line's number.
func (f *file) readCSV(doc []byte) error {
	r := csv.NewReader(bytes.NewReader(doc))
	r.Comma, r.FieldsPerRecord, r.ReuseRecord = delimiter(doc), -1, true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("1: the file is empty; its first line names the columns")
	}
	if err != nil {
		return place(err)
	}
	line, _ := r.FieldPos(0)
	kind, columns, err := columnsOf(header)
	if err != nil {
		return fmt.Errorf("%d: %w", line, err)
	}
	for {
		cells, err := r.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			f.add(bad.StartLine, kind, map[string]any{}, []string{quoting(bad)})
			continue
		case err != nil:
			return place(err)
		}
		line, _ := r.FieldPos(0)
		f.addCells(line, kind, columns, cells)
	}
}

// place puts the line of an error before it.
func place(err error) error {
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		return fmt.Errorf("%d: %s", bad.StartLine, quoting(bad))
	}
	return fmt.Errorf(" %w", err)
}

// quoting says what is wrong with quotes.
func quoting(bad *csv.ParseError) string {
	switch {
	case errors.Is(bad.Err, csv.ErrQuote) && bad.Line > bad.StartLine:
		return fmt.Sprintf("a quote is opened and never closed, up to line %d", bad.Line)
	case errors.Is(bad.Err, csv.ErrQuote), errors.Is(bad.Err, csv.ErrBareQuote):
		return fmt.Sprintf(`column %d: a quote in the middle of a cell; write "" for one, and quotes around the cell`, bad.Column)
	}
	return bad.Err.Error()
}

// columnsOf finds out whose columns these are, and which. A column without a name
// has the zero field.
func columnsOf(header []string) (kind string, columns []field, err error) {
	has := func(names ...string) bool {
		for _, h := range header {
			for _, name := range names {
				if tidy(h) == name {
					return true
				}
			}
		}
		return false
	}
	switch terminals, barrels := has("imsi"), has("id", "barrel"); {
	case terminals && barrels:
		return "", nil, errors.New("the columns imsi and id are both there: a file is of terminals or of barrels, make two")
	case terminals:
		kind = Terminals
	case barrels:
		kind = Barrels
	default:
		return "", nil, fmt.Errorf("no column is called imsi (of terminals) or id (of barrels); the first line names the columns, this one has %q", header)
	}
	seen := map[string]bool{}
	for i, h := range header {
		name := tidy(h)
		c, known := fieldOf(kind, name)
		switch {
		case name == "":
		case secret[name] != "":
			return "", nil, fmt.Errorf("column %d: %s doesn't belong into a table that is mailed around; put it into a file, which the column %s names", i+1, name, secret[name])
		case !known:
			return "", nil, fmt.Errorf("column %d: %q is not known; columns of %s are %s", i+1, h, kind, strings.Join(names(kind), ", "))
		case seen[c.name]:
			return "", nil, fmt.Errorf("column %d: %s is there twice", i+1, c.name)
		}
		seen[c.name] = true
		columns = append(columns, c)
	}
	return kind, columns, nil
}

// tidy is a column's name as it is meant: "Static Address" is static_address.
func tidy(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "_", "-", "_").Replace(strings.TrimSpace(name)))
}

func (f *file) addCells(line int, kind string, columns []field, cells []string) {
	var mistakes []string
	values, empty := map[string]any{}, true
	for i, cell := range cells {
		cell = strings.TrimSpace(cell)
		empty = empty && cell == ""
		switch {
		case i >= len(columns) || columns[i].name == "":
			if cell != "" {
				mistakes = append(mistakes, fmt.Sprintf("column %d: %q is in no column that has a name", i+1, cell))
			}
		default:
			v, err := columns[i].parse(cell)
			if err != nil {
				mistakes = append(mistakes, err.Error())
			}
			values[columns[i].name] = v
		}
	}
	if empty {
		return // spreadsheets leave such lines
	}
	if len(cells) < len(columns) {
		mistakes = append(mistakes, fmt.Sprintf("the row has %d cells, the header has %d columns", len(cells), len(columns)))
	}
	f.add(line, kind, values, mistakes)
}
