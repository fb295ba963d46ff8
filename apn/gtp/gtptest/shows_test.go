package gtptest

import "testing"

func TestCatalogueIsReadable(t *testing.T) {
	rows, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		t.Fatal("no rows")
	}
	for _, c := range []struct{ bad, why string }{
		{"29.274|7.1.1|Echo Request||maybe", "an unknown status"},
		{"29.274|7.1.1|Echo Request", "too few columns"},
		{"|7.1.1|Echo Request||yes", "no specification"},
		{"29.274||Create Bearer Request||n/a", "n/a without a reason"},
		{"29.274||Echo Request||yes\n29.274||Echo Request||yes", "a row twice"},
	} {
		if _, err := parse(c.bad); err == nil {
			t.Errorf("%s is taken", c.why)
		}
	}
	if id := (Row{Spec: "29.274", Procedure: "Create Session Request", Element: "F-TEID (SGW, control plane)"}).ID(); id != "29.274/create-session-request/f-teid-sgw-control-plane" {
		t.Error(id)
	}
}
