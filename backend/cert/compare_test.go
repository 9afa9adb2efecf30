package cert_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

func TestNames4_ComparisonFormSeesThroughSpellings(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"EVIL.org":               "evil.org",
		"a@evil%2eorg":           "a@evil.org",
		"a@evil%252Eorg":         "a@evil.org",
		"100% evil.org %zz %":    "100% evil.org %zz %",
		"x%40ｅｖｉｌ．ｏｒｇ":           "x@evil.org",
		"x＠evil。org｡":            "x@evil.org.",
		"ev\u200bil.o\u00adrg":   "evil.org",
		"\u202egro.live":         "gro.live",
		"a@bücher.example":       "a@xn--bcher-kva.example",
		"a@b%C3%BCcher.example":  "a@xn--bcher-kva.example",
		"sip:x@BÜCHER.example;y": "sip:x@xn--bcher-kva.example;y",
		"Jane Doe":               "jane doe",
		"\xff%ff.evil.org":       "\ufffd\ufffd.evil.org",
	} {
		require.Equal(t, want, cert.ComparisonForm(text), "%q", text)
	}
}

func TestNames4_NamesThatReadAsAddressesAreNoHostNames(t *testing.T) {
	for _, name := range []string{
		"10.1", "10.1.", "0x7f.1", "2130706433", "0177.0.0.01", "127.0.0.1", "0x", "a.0x", "a.0x1F", "a.0XFF", "example.1", "１０.１", "*.1.2", "1",
	} {
		_, err := cert.NormaliseWildcard(name)
		if name == "127.0.0.1" {
			require.ErrorContains(t, err, "must not be an IP address")
			continue
		}
		require.ErrorContains(t, err, "must not end in a number", name)
		_, err = cert.ParseURI("https://" + name + "/")
		require.Error(t, err, name)
		_, err = cert.ParseEmail("a@" + name)
		require.Error(t, err, name)
	}
	for _, name := range []string{"1.example", "1a", "0xg", "x1", "1-1", "a.b2", "0x1.com", "xn--p1ai", "a.1x"} {
		_, err := cert.NormaliseDNS(name)
		require.NoError(t, err, name)
	}
}

func TestNames4_OtherNamesShowAllTheirCharacters(t *testing.T) {
	for _, value := range []string{"a\u202egro.live@b", "a\u2066b", "a\u200bb", "a\ufeffb", "a\u2028b", "a\x00b", "a\u0085b"} {
		_, err := cert.ParseOtherName("1.3.6.1.4.1.311.20.2.3;UTF8:" + value)
		require.ErrorContains(t, err, "unseen", "%q", value)
	}
	_, err := cert.ParseOtherName("1.3.6.1.4.1.311.20.2.3;UTF8:jürgen@example.com")
	require.NoError(t, err)
}
