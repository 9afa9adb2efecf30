package e2e_test

import (
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// leaf is an issued certificate as other programs get it.
type leaf struct {
	serial      string
	certificate *x509.Certificate
	path        string // file: the certificate, PEM
}

// newLeaf issues a certificate for a name below example.com.
func (h hierarchy) newLeaf(t testing.TB, name string) leaf {
	t.Helper()
	issued := h.issue(t, name)
	certificate := text(t, issued, "certificate")
	return leaf{
		serial: text(t, issued, "serial_number"), certificate: certificateOf(t, certificate),
		path: file(t, name+".pem", []byte(certificate)),
	}
}

// currentCRL has the CRL made anew and fetches it as PEM.
func (h hierarchy) currentCRL(t testing.TB) string {
	t.Helper()
	read(t, h.mount+"/crl/rotate")
	a := get(t, anonymous, h.mount+"/crl/pem")
	require.Equal(t, http.StatusOK, a.Status)
	return file(t, "issuing.crl", a.Body)
}

func (h hierarchy) revoke(t testing.TB, l leaf, reason string) {
	t.Helper()
	revoked := write(t, h.mount+"/revoke", fields{"serial_number": l.serial, "reason": reason})
	require.Equal(t, "revoked", revoked["state"])
	require.Equal(t, reason, revoked["reason"])
}

// askOCSP sends an OCSP request in DER by GET and returns the response.
func (h hierarchy) askOCSP(t testing.TB, request []byte) []byte {
	t.Helper()
	a := get(t, anonymous, h.mount+"/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(request)))
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "application/ocsp-response", a.Header.Get("Content-Type"))
	return a.Body
}

// opensslOCSP asks for the status of a certificate with the request and the
// verification of openssl, and returns what it says.
func (h hierarchy) opensslOCSP(t testing.TB, certificate ...string) string {
	t.Helper()
	request := filepath.Join(t.TempDir(), "request.der")
	ask := append([]string{"ocsp", "-issuer", h.issuing, "-reqout", request}, certificate...)
	vault.Tool(t, "openssl", ask...)
	response := file(t, "response.der", h.askOCSP(t, contents(t, request)))
	// The request again, to which -no_nonce adds no second one, so that nonces are compared.
	result := vault.Run(t, harness.Command{Name: "openssl", Args: append([]string{
		"ocsp", "-issuer", h.issuing, "-reqin", request, "-no_nonce", "-respin", response,
		"-CAfile", h.root, "-verify_other", h.issuing,
	}, certificate...)})
	require.Zero(t, result.Code, "%s%s", result.Stdout, result.Stderr)
	require.Contains(t, result.Stderr, "Response verify OK")
	require.NotContains(t, result.Stderr, "WARNING: no nonce")
	return result.Stdout
}

func TestTwoTierLeafVerifiesWithOtherSoftware(t *testing.T) {
	h := shared(t)
	issued := vault.CLI(t, "write", "-field=certificate", h.mount+"/issue/web", "common_name=www.example.com", "alt_names=api.example.com")
	path := file(t, "leaf.pem", []byte(issued))
	crl := h.currentCRL(t)

	vault.Tool(t, "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "api.example.com",
		"-crl_check", "-CRLfile", crl, "-CAfile", h.root, "-untrusted", h.issuing, path)
	// The root's CRL came from the ceremony: every certificate of the path is checked.
	rootCRL := vault.Tool(t, "openssl", "crl", "-in", h.rootCRL, "-inform", "DER")
	both := file(t, "both.crl", append(append(contents(t, crl), '\n'), rootCRL...))
	vault.Tool(t, "openssl", "verify", "-x509_strict", "-crl_check_all", "-CRLfile", both, "-CAfile", h.root, "-untrusted", h.issuing, path)

	chain := strings.Join([]string{issued, string(contents(t, h.issuing)), string(contents(t, h.root))}, "\n")
	whole := file(t, "chain.pem", []byte(chain))
	require.Contains(t, vault.Tool(t, "certtool", "--verify-chain", "--infile", whole), "Chain verification output: Verified.")
	require.Contains(t, vault.Tool(t, "certtool", "--verify", "--verify-hostname=www.example.com", "--verify-purpose=1.3.6.1.5.5.7.3.1",
		"--load-ca-certificate", h.root, "--infile", file(t, "path.pem", []byte(issued+"\n"+string(contents(t, h.issuing))))), "Verified.")
	require.Contains(t, vault.Tool(t, "certtool", "--verify-crl", "--load-ca-certificate", h.issuing, "--infile", crl), "Verified.")
}

func TestTwoTierChainOfTheAnswerIsComplete(t *testing.T) {
	h := shared(t)
	issued := h.issue(t, "chain")
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(contents(t, h.root)))
	chain := texts(t, issued, "ca_chain")
	require.Len(t, chain, 2)
	require.Equal(t, text(t, issued, "issuing_ca"), chain[0])
	for _, ca := range chain {
		intermediates.AddCert(certificateOf(t, ca))
	}
	paths, err := certificateOf(t, text(t, issued, "certificate")).Verify(x509.VerifyOptions{
		DNSName: "chain.example.com", Roots: roots, Intermediates: intermediates,
	})
	require.NoError(t, err)
	require.Len(t, paths, 1)
	require.Len(t, paths[0], 3)
}

func TestTwoTierSignTakesARequestOfOpenSSL(t *testing.T) {
	h := shared(t)
	dir := t.TempDir()
	key, csr := filepath.Join(dir, "key.pem"), filepath.Join(dir, "request.pem")
	vault.Tool(t, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-subj", "/CN=signed.example.com", "-addext", "subjectAltName=DNS:signed.example.com,DNS:other.example.com", "-keyout", key, "-out", csr)
	signed := vault.CLI(t, "write", "-field=certificate", h.mount+"/sign/web", "csr=@"+csr)
	require.Equal(t, []string{"signed.example.com", "other.example.com"}, certificateOf(t, signed).DNSNames)
	path := file(t, "signed.pem", []byte(signed))
	vault.Tool(t, "openssl", "verify", "-x509_strict", "-CAfile", h.root, "-untrusted", h.issuing, path)
	require.Equal(t, vault.Tool(t, "openssl", "pkey", "-in", key, "-pubout"), vault.Tool(t, "openssl", "x509", "-in", path, "-noout", "-pubkey"))
}

func TestTwoTierURLsOfACertificateLeadToWhatTheyPromise(t *testing.T) {
	h := shared(t)
	l := h.newLeaf(t, "urls")
	require.Len(t, l.certificate.IssuingCertificateURL, 1)
	require.Len(t, l.certificate.OCSPServer, 1)
	require.Len(t, l.certificate.CRLDistributionPoints, 1)

	fetched := filepath.Join(t.TempDir(), "issuer.der")
	vault.Tool(t, "curl", "-fsS", "-o", fetched, l.certificate.IssuingCertificateURL[0])
	require.Equal(t, certificateOf(t, string(contents(t, h.issuing))).Raw, contents(t, fetched))
	// openssl fetches the CRL itself, from the URL in the certificate.
	vault.Tool(t, "openssl", "verify", "-crl_check", "-crl_download", "-CAfile", h.root, "-untrusted", h.issuing, l.path)

	request, err := ocsp.CreateRequest(l.certificate, certificateOf(t, string(contents(t, h.issuing))), nil)
	require.NoError(t, err)
	response := filepath.Join(t.TempDir(), "response.der")
	vault.Tool(t, "curl", "-fsS", "-o", response, l.certificate.OCSPServer[0]+"/"+url.PathEscape(base64.StdEncoding.EncodeToString(request)))
	parsed, err := ocsp.ParseResponseForCert(contents(t, response), l.certificate, certificateOf(t, string(contents(t, h.issuing))))
	require.NoError(t, err)
	require.Equal(t, ocsp.Good, parsed.Status)
}

func TestTwoTierRevocationShowsInCRLAndOCSP(t *testing.T) {
	h := shared(t)
	for _, reason := range []struct{ name, crl, ocsp string }{
		{"keyCompromise", "Key Compromise", "keyCompromise"},
		{"superseded", "Superseded", "superseded"},
	} {
		t.Run(reason.name, func(t *testing.T) {
			l := h.newLeaf(t, strings.ToLower(reason.name))
			require.Contains(t, h.opensslOCSP(t, "-cert", l.path), ": good")
			h.revoke(t, l, reason.name)

			said := h.opensslOCSP(t, "-cert", l.path)
			require.Contains(t, said, ": revoked")
			require.Contains(t, said, "Reason: "+reason.ocsp)

			crl := h.currentCRL(t)
			_, entry, found := strings.Cut(vault.Tool(t, "openssl", "crl", "-in", crl, "-noout", "-text"),
				"Serial Number: "+strings.ToUpper(strings.ReplaceAll(l.serial, ":", "")))
			require.True(t, found, "%s is not on the CRL", l.serial)
			entry, _, _ = strings.Cut(entry, "Serial Number:")
			require.Contains(t, entry, reason.crl)

			refused := vault.Run(t, harness.Command{Name: "openssl", Args: []string{
				"verify", "-crl_check", "-CRLfile", crl, "-CAfile", h.root, "-untrusted", h.issuing, l.path,
			}})
			require.NotZero(t, refused.Code)
			require.Contains(t, refused.Stdout+refused.Stderr, "error 23") // X509_V_ERR_CERT_REVOKED
			refused = vault.Run(t, harness.Command{Name: "certtool", Args: []string{
				"--verify", "--load-ca-certificate", h.root, "--load-crl", crl, "--infile", file(t, "path.pem", append(contents(t, l.path), contents(t, h.issuing)...)),
			}})
			require.Contains(t, refused.Stdout+refused.Stderr, "revoked")
		})
	}
}

func TestTwoTierKeyCompromiseIsOnTheCRLAtOnce(t *testing.T) {
	h := shared(t)
	l := h.newLeaf(t, "at-once")
	h.revoke(t, l, "keyCompromise")
	until(t, "being on the CRL", func() bool { return h.lists(t, l) })
}

// lists reports whether the CRL lists a certificate, as it is now.
func (h hierarchy) lists(t testing.TB, l leaf) bool {
	t.Helper()
	return slices.ContainsFunc(h.crl(t).RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(l.certificate.SerialNumber) == 0
	})
}

// crl fetches the CRL as it is.
func (h hierarchy) crl(t testing.TB) *x509.RevocationList {
	t.Helper()
	list, err := x509.ParseRevocationList(get(t, anonymous, h.mount+"/crl").Body)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(certificateOf(t, string(contents(t, h.issuing)))))
	return list
}

func TestTwoTierCRLNumbersIncrease(t *testing.T) {
	h := shared(t)
	last := h.crl(t).Number
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		require.Equal(t, http.StatusOK, send(t, rootClient, method, h.mount+"/crl/rotate", nil).Status)
		number := h.crl(t).Number
		require.Positive(t, number.Cmp(last), "%s after %s", number, last)
		last = number
	}
}

func TestTwoTierOCSPAnswersGnuTLS(t *testing.T) {
	h := shared(t)
	l := h.newLeaf(t, "gnutls")
	request := filepath.Join(t.TempDir(), "request.der")
	vault.Tool(t, "ocsptool", "--generate-request", "--load-issuer", h.issuing, "--load-cert", l.path, "--outfile", request)
	ask := func() string {
		response := file(t, "response.der", h.askOCSP(t, contents(t, request)))
		said := vault.Tool(t, "ocsptool", "--verify-response", "--load-response", response, "--load-trust", h.issuing)
		require.Contains(t, said, "Verifying OCSP Response: Success.")
		return vault.Tool(t, "ocsptool", "--response-info", "--infile", response)
	}
	require.Contains(t, ask(), "Certificate Status: good")
	h.revoke(t, l, "cessationOfOperation")
	require.Contains(t, ask(), "Certificate Status: revoked")
}

func TestOCSP1_SerialThatWasNeverIssuedIsUnknown(t *testing.T) {
	h := shared(t)
	for name, serial := range map[string]string{
		"small":               "0x1000",
		"of our format":       "0x" + new(big.Int).Add(h.newLeaf(t, "neighbour").certificate.SerialNumber, big.NewInt(1)).Text(16),
		"the issuing CA's":    "0x" + certificateOf(t, string(contents(t, h.issuing))).SerialNumber.Text(16),
		"the largest serials": "0x7f" + strings.Repeat("ff", 19),
	} {
		require.Contains(t, h.opensslOCSP(t, "-serial", serial), ": unknown", name)
	}
}

func TestOCSP1_MalformedRequestIsAnsweredAsSuch(t *testing.T) {
	h := shared(t)
	for name, request := range map[string]string{
		"not base64":  "%21%21",
		"not DER":     "AAAA",
		"other DER":   "MAA%3D",
		"much of it":  strings.Repeat("QUFB", 2000),
		"white space": "%20",
	} {
		a := get(t, anonymous, h.mount+"/ocsp/"+request)
		require.Equal(t, http.StatusOK, a.Status, name)
		_, err := ocsp.ParseResponse(a.Body, nil)
		require.Equal(t, ocsp.ResponseError{Status: ocsp.Malformed}, err, name)
	}
}

func TestTwoTierCeremonyVerifiesWhatTheEngineHolds(t *testing.T) {
	h := shared(t)
	held := get(t, anonymous, h.mount+"/issuer/issuing-1/pem")
	require.Equal(t, http.StatusOK, held.Status)
	put(t, h.path("held.pem"), string(held.Body))
	vault.Ceremony(t, h.dir, "verify", "--root", "root.pem", "--crl", "root.crl", "held.pem")
}

func TestTwoTierOCSPAnswerMayBeCachedAndARefusalMayNot(t *testing.T) {
	h := shared(t)
	request, err := ocsp.CreateRequest(h.newLeaf(t, "cached").certificate, certificateOf(t, string(contents(t, h.issuing))), nil)
	require.NoError(t, err)
	for name, c := range map[string]struct{ request, cacheControl string }{
		"answer":  {url.PathEscape(base64.StdEncoding.EncodeToString(request)), `^public, max-age=[1-9][0-9]*`},
		"refusal": {"MAA%3D", `^no-store$`},
	} {
		require.Regexp(t, c.cacheControl, get(t, anonymous, h.mount+"/ocsp/"+c.request).Header.Get("Cache-Control"), name)
	}
}
