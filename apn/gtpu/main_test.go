package gtpu_test

import (
	"os"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

func TestMain(m *testing.M) { os.Exit(gtptest.Main(m)) }
