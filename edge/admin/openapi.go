package admin

import (
	"net/http"

	"github.com/sealedge/sealedge/docs/api"
)

// openapi is the document of this API, as it was built with the node.
func (s *Server) openapi(*http.Request, Caller) (any, *problem) {
	return stream(func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/yaml") // RFC 9512
		_, _ = w.Write(api.Admin)                          // the client may be gone
	}), nil
}
