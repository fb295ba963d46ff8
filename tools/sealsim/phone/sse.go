package phone

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is a server-sent event (WHATWG HTML 9.2.6).
type event struct {
	name, data string
}

// Bounds of what is read from the stream.
const (
	maxEventLine = 64 << 10
	maxEventData = 256 << 10
)

var errEventTooLong = errors.New("server-sent event too long")

// readEvents hands every event of a stream to fn, until the stream or fn ends
// with an error. An event that the stream's end cuts off is dropped.
func readEvents(r io.Reader, fn func(event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxEventLine)
	var e event
	var data []string
	size := 0
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if len(data) > 0 {
				e.data = strings.Join(data, "\n")
				if err := fn(e); err != nil {
					return err
				}
			}
			e, data, size = event{}, nil, 0
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.name = value
		case "data":
			if size += len(value); size > maxEventData {
				return errEventTooLong
			}
			data = append(data, value)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: %w", errEventTooLong, err)
	} else if err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
