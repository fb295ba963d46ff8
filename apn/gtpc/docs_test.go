package gtpc

import (
	"os"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp"
)

// An operator who sees a drop counted finds what it means.
func TestDropsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/signalling.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{
		countPeerNotAllowed, countPeerNotOfCarrier, countVersionNotOfPeer, countIMSINotOfPeer, countPLMNNotOfPeer, countRATNotOfPeer, countNamedNotOfPeer,
		countCreateRate, countCreateRatePeer, countOrphan, countHandlerPanic,
		gtp.ReasonShort, gtp.ReasonUnknownType, gtp.ReasonUnexpectedType, gtp.ReasonOtherVersion, gtp.ReasonBadResponse, gtp.ReasonPanic,
	} {
		if !strings.Contains(string(doc), "`"+reason+"`") {
			t.Errorf("docs/signalling.md doesn't explain %q", reason)
		}
	}
}
