package adminapi

import (
	"net/url"
	"strconv"
	"strings"
)

// Pages of a list. A client that wants all of it asks with ?after=Next until
// there is none.
const (
	DefaultLimit = 1_000
	MaxLimit     = 10_000
)

// List is a page of a list, in the order of its keys.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is where the list goes on, for ?after=; empty: it ends here. It is
	// nothing but the server's: what it looks like may change.
	Next string `json:"next,omitempty"`
}

// Whole is a list that comes in one page.
func Whole[T any](items []T) List[T] {
	if items == nil {
		items = []T{}
	}
	return List[T]{Items: items}
}

// All reads a list to its end. get reads the document at a path into a value.
func All[T any](path string, get func(path string, into any) error) ([]T, error) {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	all := []T{}
	for after := ""; ; {
		var page List[T]
		if err := get(path+sep+"limit="+strconv.Itoa(MaxLimit)+after, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		after = "&after=" + url.QueryEscape(page.Next)
	}
}
