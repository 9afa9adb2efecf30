package publicsuffix_test

import (
	"testing"

	"github.com/weppos/publicsuffix-go/publicsuffix"
)

func TestSplit(t *testing.T) {
	for name, want := range map[string][3]string{
		"example.com":   {"com", "example", ""},
		"www.host.corp": {"corp", "host", "www"},
		"*.Corp":        {"corp", "*", ""},
	} {
		got, err := publicsuffix.ParseFromListWithOptions(publicsuffix.DefaultList, name,
			&publicsuffix.FindOptions{IgnorePrivate: true, DefaultRule: publicsuffix.DefaultRule})
		if err != nil || [3]string{got.TLD, got.SLD, got.TRD} != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "com", ".com", "example.com."} {
		if _, err := publicsuffix.ParseFromListWithOptions(publicsuffix.DefaultList, name, nil); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
}
