package main

import (
	"fmt"

	"github.com/xrash/smetrics"
)

// likeness is how much alike two words have to be, from 0 to 1, for one to be
// what was meant by the other.
const likeness = 0.8

// nearest is the word of all that is most like the one that was typed; empty: none
// is like it.
func nearest(typed string, all []string) string {
	best, found := likeness, ""
	for _, word := range all {
		if d := smetrics.JaroWinkler(word, typed, 0.7, 4); d > best && word != typed {
			best, found = d, word
		}
	}
	return found
}

// didYouMean is a sentence that suggests the nearest word, or nothing.
func didYouMean(typed string, all []string) string {
	if word := nearest(typed, all); word != "" {
		return fmt.Sprintf(". Did you mean %q?", word)
	}
	return ""
}
