package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// slowClient is how long a client may take to take what is sent to it.
const slowClient = 30 * time.Second

// events writes server-sent events (HTML 9.2).
type events struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// begin sends the head of the answer.
func (e *events) begin() error {
	// The server's time limit for reading a request would end the stream.
	_ = e.rc.SetReadDeadline(time.Time{})
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	e.w.WriteHeader(http.StatusOK)
	return e.flush()
}

// send writes an event; JSON has no line feeds in it. id is empty for those that
// are no place to go on from.
func (e *events) send(event, id string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_ = e.rc.SetWriteDeadline(time.Now().Add(slowClient))
	if id != "" {
		id = "id: " + id + "\n"
	}
	_, err = fmt.Fprintf(e.w, "event: %s\n%sdata: %s\n\n", event, id, b)
	return err
}

// comment keeps the connection alive.
func (e *events) comment() error {
	_ = e.rc.SetWriteDeadline(time.Now().Add(slowClient))
	if _, err := fmt.Fprint(e.w, ":\n\n"); err != nil {
		return err
	}
	return e.flush()
}

func (e *events) flush() error { return e.rc.Flush() }
