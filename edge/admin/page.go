package admin

import (
	"encoding/base64"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// page is which part of a list a request is for.
type page[K any] struct {
	limit int
	after K // the key of the last item before it; the zero value: from the beginning
}

// pageOf reads ?limit= and ?after=. A cursor is the last key in base64, so that
// nobody is tempted to make one.
func pageOf[K any](r *http.Request, key func(string) (K, error)) (p page[K], _ *problem) {
	q := r.URL.Query()
	p.limit = adminapi.DefaultLimit
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > adminapi.MaxLimit {
			return p, badRequest(fmt.Errorf("limit: %q is no number from 1 to %d", text, adminapi.MaxLimit))
		}
		p.limit = n
	}
	text := q.Get("after")
	if text == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		p.after, err = key(string(raw))
	}
	if err != nil {
		return p, badRequest(fmt.Errorf("after: %q is no cursor of this list; take the one that the answer before had as next", text))
	}
	return p, nil
}

// Keys of lists, as cursors have them.

func textKey(s string) (string, error) { return s, nil }

func numberKey(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

func addressKey(s string) (netip.Addr, error) { return netip.ParseAddr(s) }

// show makes the page of items, which come after p.after in the order of their
// keys. Call it within View.
func show[K, R, V any](p page[K], items iter.Seq[R], key func(R) K, document func(R) V) adminapi.List[V] {
	list := adminapi.List[V]{Items: []V{}}
	var last K
	for r := range items {
		if len(list.Items) == p.limit {
			list.Next = base64.RawURLEncoding.EncodeToString(fmt.Append(nil, last))
			break
		}
		list.Items, last = append(list.Items, document(r)), key(r)
	}
	return list
}
