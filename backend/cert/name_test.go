package cert_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

func TestNames4_NormaliseOnce(t *testing.T) {
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, label[:61]}, ".")
	require.Len(t, longest, 253)
	for in, want := range map[string]string{
		"EXAMPLE.com.":                  "example.com",
		"example\u3002com":              "example.com",
		"EXAMPLE\uff0ecom":              "example.com",
		"bücher.example":                "xn--bcher-kva.example",
		"BÜCHER.example":                "xn--bcher-kva.example",
		"XN--BCHER-KVA.example":         "xn--bcher-kva.example",
		"日本語.example":                   "xn--wgv71a119e.example",
		"пример.example":                "xn--e1afmkfd.example",
		"1-2.example":                   "1-2.example",
		"r3---sn-apo3qvuoxuxbt.example": "r3---sn-apo3qvuoxuxbt.example",
		"_dmarc.example.com":            "_dmarc.example.com",
		"localhost":                     "localhost",
		longest:                         longest,
		longest + ".":                   longest,
	} {
		got, err := cert.NormaliseDNS(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
	}
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "a..", "a.b..", label + "a.example", longest + "a", strings.Repeat("a.", 100_000),
		"a\x00b.example", "a b.example", "a,b", "a/b", "a\nb", "a:b", "[a]", "a@b", "%61.example", "a*b.example", "*.example.com", "*",
		"-a.example", "a-.example", "xn--a.example", "xn--.example", "xn--\u00fc.example",
		"\u0430pple.example",                    // Cyrillic a before Latin letters
		"xn--pple-43d.example",                  // the same as an A-label
		"a\u200dpple.example", "\u0378.example", // joiner out of context, unassigned
		"a\ufffd.example", "a\xff.example",
		"10.0.0.1", "\uff11\uff10.0.0.1", "10.0.0.1.",
	} {
		got, err := cert.NormaliseDNS(in)
		require.Error(t, err, "%q became %q", in, got)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Less(t, len(err.Error()), 1500)
	}
}

func TestNames3_WildcardIsOneWholeLeftMostLabel(t *testing.T) {
	for in, want := range map[string]string{
		"*.Example.com":     "*.example.com",
		"a.example.com":     "a.example.com",
		"*.bücher.example.": "*.xn--bcher-kva.example",
	} {
		got, err := cert.NormaliseWildcard(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
	}
	label := strings.Repeat("a", 63)
	for _, in := range []string{
		"*", "*.", "*.com", "*.*.e.com", "f*.e.com", "*f.e.com", "a.*.e.com", "**.e.com", "*..e.com", "*.10.0.0.1",
		"\uff0a.e.com", "*." + strings.Join([]string{label, label, label, label[:61]}, "."),
	} {
		got, err := cert.NormaliseWildcard(in)
		require.Error(t, err, "%q became %q", in, got)
	}
}

func TestIsHostname(t *testing.T) {
	require.True(t, cert.IsHostname("a-1.example"))
	require.False(t, cert.IsHostname("_a.example"))
}

func TestParseIP(t *testing.T) {
	for in, want := range map[string]string{"10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1": "10.0.0.1", "FD00::1": "fd00::1", " 10.0.0.1 ": "10.0.0.1"} {
		ip, err := cert.ParseIP(in)
		require.NoError(t, err)
		require.Equal(t, want, ip.String())
	}
	ip, err := cert.ParseIP("::ffff:10.0.0.1")
	require.NoError(t, err)
	require.Len(t, ip, 4)
	for _, in := range []string{"", "10.0.0", "010.0.0.1", "10.0.0.1/8", "fe80::1%eth0", "[::1]", "a", "10.0.0.1\x00"} {
		_, err := cert.ParseIP(in)
		require.Error(t, err, in)
	}
}

func TestParseEmail(t *testing.T) {
	for in, want := range map[string]string{
		"Alice@Example.COM": "Alice@example.com", "a.b+c@example.com": "a.b+c@example.com",
		"a@bücher.example": "a@xn--bcher-kva.example", "o'neil@localhost": "o'neil@localhost",
	} {
		got, err := cert.ParseEmail(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, in := range []string{
		"", "@", "a@", "@a", "a", "a@b@c", "a b@c", "a@b c", `"a b"@c`, "a@[10.0.0.1]", "a@10.0.0.1", ".a@b", "a.@b", "a..b@c",
		"Alice <a@b>", "ü@b", "a@*.b", "a\x00@b", "a,b@c", strings.Repeat("a", 65) + "@b", "a@" + strings.Repeat("a.", 127) + "b",
	} {
		_, err := cert.ParseEmail(in)
		require.Error(t, err, in)
	}
}

func TestParseURI(t *testing.T) {
	for in, want := range map[string]string{
		"spiffe://Corp.example/ns/a":         "spiffe://corp.example/ns/a",
		"spiffe://corp.example":              "spiffe://corp.example",
		"https://EXAMPLE.com:8443/a?b#c":     "https://example.com:8443/a?b#c",
		"HTTPS://example.com":                "https://example.com",
		"https://[FD00::1]:8443/":            "https://[fd00::1]:8443/",
		"https://10.0.0.1/":                  "https://10.0.0.1/",
		"urn:uuid:f81d4fae-7dec-11d0-a765":   "urn:uuid:f81d4fae-7dec-11d0-a765",
		"tag:microsoft.com,2022-09-14:sid:S": "tag:microsoft.com,2022-09-14:sid:S",
	} {
		got, err := cert.ParseURI(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got.String())
	}
	for _, in := range []string{
		"", "a", "/a", "//host/a", "https:", "https://", "https:///a", "https:a", "urn:", "https://good@evil/", "https://u:p@evil/",
		"https://a b/", "https://a/\x00", "https://a/\u00fc", "https://a..b/", "https://-a/", "https://*.a/", "https://a/../b", "https://a/./b", "https://a/%2e%2e/b",
		"https://a:b/", "spiffe://corp:1/a", "spiffe://corp/a?b", "spiffe://corp/a#b", "spiffe://corp/a//b", "spiffe://corp/a/", "spiffe://corp/%61", "spiffe:corp",
		"spiffe://corp/a*", "https://[fe80::1%25eth0]/", "https://a/" + strings.Repeat("a", 2048),
	} {
		got, err := cert.ParseURI(in)
		require.Error(t, err, "%q became %q", in, got)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

func TestParseOtherName(t *testing.T) {
	for _, in := range []string{"1.3.6.1.4.1.311.20.2.3;UTF8:a@corp", "1.3.6.1.4.1.311.20.2.3;utf-8:a@corp"} {
		got, err := cert.ParseOtherName(in)
		require.NoError(t, err)
		require.Equal(t, cert.OtherName{OID: "1.3.6.1.4.1.311.20.2.3", Value: "a@corp"}, got)
		require.Equal(t, "1.3.6.1.4.1.311.20.2.3;UTF8:a@corp", got.String())
	}
	got, err := cert.ParseOtherName("1.2.3;UTF8:a;b:c")
	require.NoError(t, err)
	require.Equal(t, "a;b:c", got.Value)
	for _, in := range []string{
		"", ";", "1.2.3", "1.2.3;", "1.2.3;UTF8", "1.2.3;UTF8:", "1.2.3;IA5:a", "a;UTF8:b", "1;UTF8:b", "3.1;UTF8:b", "1.40;UTF8:b",
		"1.02;UTF8:b", "1..2;UTF8:b", "1.-2;UTF8:b", "1.2.4294967296;UTF8:b", "1.2.3;UTF8:a\x00", "1.2.3;UTF8:a\nb", "1.2.3;UTF8:\xff",
		"1.2.3;UTF8:" + strings.Repeat("a", 1025), strings.Repeat("1.", 40) + "1;UTF8:a",
	} {
		_, err := cert.ParseOtherName(in)
		require.Error(t, err, in)
	}
}

func FuzzNormaliseDNS(f *testing.F) {
	for _, seed := range []string{"EXAMPLE.com.", "a..b", "bücher.example", "example\u3002com", "xn--bcher-kva.a", "*.a", "10.0.0.1", "_a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		normal, err := cert.NormaliseDNS(name)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.LessOrEqual(t, len(normal), cert.MaxDNSName)
		require.Equal(t, strings.ToLower(normal), normal)
		require.NotContains(t, normal, "*")
		again, err := cert.NormaliseDNS(normal)
		require.NoError(t, err)
		require.Equal(t, normal, again, "normalising is idempotent")
	})
}

func FuzzParseURI(f *testing.F) {
	for _, seed := range []string{"spiffe://corp/a", "https://EXAMPLE.com:8443/a?b#c", "urn:uuid:1", "https://[::1]/", "https://a/%2e%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := cert.ParseURI(text)
		if err != nil {
			return
		}
		again, err := cert.ParseURI(uri.String())
		require.NoError(t, err, uri.String())
		require.Equal(t, uri.String(), again.String())
	})
}

func BenchmarkNormaliseDNS(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cert.NormaliseDNS("web.internal.example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
