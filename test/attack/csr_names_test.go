package attack_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// oddNames are subjectAltNames, each in DER, that the engine does not certify and that
// CSRs of other software carry.
var oddNames = map[string]string{
	"KRB5 principal":      "300fa00d06062b0601050202a003040100",
	"directoryName":       "3013a411300f310d300b06035504030c0465766967",
	"registeredID":        "300488022a03",
	"DC GUID":             "3021a01f06092b0601040182371901a0120410000102030405060708090a0b0c0d0e0f",
	"SRV name in IA5":     "3013a01106082b06010505070807a0051603612e62",
	"address as DNS name": "300b8209" + hex.EncodeToString([]byte("192.0.2.1")),
	"bad URI":             "30058603" + hex.EncodeToString([]byte("://")),
	"host of latin 1":     "30048202ffff",
	"not a list":          "0500",
}

func TestNames6_NamesThatARoleDoesNotTakeAreNotJudged(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "roles/own", webRole.with(body{"use_csr_sans": false, "use_csr_common_name": false})).Expect(http.StatusOK)
	subjectAltName := asn1.ObjectIdentifier{2, 5, 29, 17}
	for name, value := range oddNames {
		t.Run(name, func(t *testing.T) {
			der, err := hex.DecodeString(value)
			require.NoError(t, err)
			csr := rawRequest(t, newKey(t), nil, attribute(oidExtensionRequest, extensionList(subjectAltName, der)))
			own := open(t, m, "own", body{"csr": csr, "common_name": "b.example.com"})
			require.Equal(t, []string{"b.example.com"}, own.DNSNames)
			require.Empty(t, own.URIs)
			shut(t, m, "web", body{"csr": csr}, "csr")
		})
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = "a"
	}
	shut(t, m, "own", body{"csr": csrOf(t, &x509.CertificateRequest{DNSNames: many}, newKey(t)), "common_name": "b.example.com"}, "1000 names")
}

func TestNames6_TheProfileSaysWhatBecomesOfTheRest(t *testing.T) {
	m := pathstest.InProcess(t)
	withRoot(t, m)
	m.Write(t, "profiles/drops", body{"preset": "tls-server", "csr_extra": "drop"}).Expect(http.StatusOK)
	for _, name := range []string{"drops", "tls-server"} {
		m.Write(t, "roles/"+name, body{"profile": name, "allowed_domains": "example.com", "allow_subdomains": true}).Expect(http.StatusOK)
	}
	subject := func(attributes ...pkix.AttributeTypeAndValue) string {
		return csrOf(t, &x509.CertificateRequest{DNSNames: []string{"a.example.com"}, Subject: pkix.Name{ExtraNames: attributes}}, newKey(t))
	}
	cn, o := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}
	for told, csr := range map[string]string{
		"1.3.6.1.4.1.311.2.1.14": rawRequest(t, newKey(t), nil, attribute(oidMSExtensions, extensionList([]int{2, 5, 29, 37}, []byte{0x30, 0}))),
		"organization":           subject(pkix.AttributeTypeAndValue{Type: o, Value: "Evil"}),
		"common_name": subject(pkix.AttributeTypeAndValue{Type: cn, Value: "b.example.com"},
			pkix.AttributeTypeAndValue{Type: cn, Value: "a.example.com"}),
	} {
		shut(t, m, "tls-server", body{"csr": csr, "alt_names": "a.example.com"}, told)
		for _, role := range []string{"drops", "web"} {
			dropped := m.Write(t, "sign/"+role, body{"csr": csr, "alt_names": "a.example.com", "common_name": "a.example.com"}).Expect(http.StatusOK)
			require.Contains(t, strings.Join(dropped.Warnings, "\n"), told, role)
			require.Empty(t, certificate(t, dropped.Text("certificate")).Subject.Organization)
		}
	}
	ca := m.Write(t, "root/sign-intermediate", body{"use_csr_values": true, "csr": csrOf(t, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "Sub", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "corp"}}},
	}, newKey(t))}).Expect(http.StatusOK)
	require.Equal(t, "Sub", certificate(t, ca.Text("certificate")).Subject.CommonName)
	require.Contains(t, strings.Join(ca.Warnings, "\n"), "0.9.2342.19200300.100.1.25")
}
