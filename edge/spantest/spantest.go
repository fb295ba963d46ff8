// Package spantest writes recorded spans as text, for tests that compare them.
package spantest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tree writes spans as trees, a line each, what began first first: indented by depth the
// name, the attributes in the order of their keys and without our prefix "sealedge.",
// how long it took unless that is nothing, and what failed. What has a parent that isn't
// among them isn't written.
func Tree(spans []sdk.ReadOnlySpan) string {
	spans = slices.Clone(spans)
	slices.SortStableFunc(spans, func(a, b sdk.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	var b strings.Builder
	var tell func(parent trace.SpanID, depth int)
	tell = func(parent trace.SpanID, depth int) {
		for _, s := range spans {
			if s.Parent().SpanID() != parent {
				continue
			}
			fmt.Fprintf(&b, "%s%s", strings.Repeat("  ", depth), s.Name())
			attributes := slices.SortedFunc(slices.Values(s.Attributes()), func(a, b attribute.KeyValue) int { return cmp.Compare(a.Key, b.Key) })
			for _, a := range attributes {
				fmt.Fprintf(&b, " %s=%s", strings.TrimPrefix(string(a.Key), "sealedge."), a.Value.String())
			}
			if took := s.EndTime().Sub(s.StartTime()); took > 0 {
				fmt.Fprintf(&b, " (%s)", took)
			}
			if s.Status().Code == codes.Error {
				fmt.Fprintf(&b, " ! %s", s.Status().Description)
			}
			b.WriteByte('\n')
			tell(s.SpanContext().SpanID(), depth+1)
		}
	}
	tell(trace.SpanID{}, 0)
	return b.String()
}
