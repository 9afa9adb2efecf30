package edge_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/test/browser"
	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// front is a running pki-edge, and files with what a relying party has: ca.pem, a
// certificate that is good and one that is revoked.
type front struct {
	url, dir string
	mount    *edgemount.Mount
	serials  map[string]cert.Serial // by file
}

func (f front) file(name string) string { return filepath.Join(f.dir, name) }

// startFront starts the edge as an operator does and waits until it is ready.
func startFront(t testing.TB) front {
	t.Helper()
	binary, err := harness.Binary("pki-edge")
	require.NoError(t, err)
	mount := edgemount.New(t, time.Now)
	address := freeAddress(t)
	f := front{url: "http://" + address, dir: t.TempDir(), mount: mount, serials: map[string]cert.Serial{}}
	for _, name := range []string{"good", "revoked"} {
		f.serials[name] = mount.Good()
		f.leaf(t, name)
	}
	mount.Revoke(f.serials["revoked"], cert.KeyCompromise)
	mount.List(t, 17, f.serials["revoked"])
	writeFile(t, f.file("ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mount.CA.Raw})))
	settings := writeFile(t, f.file("edge.yaml"), fmt.Sprintf(`
name: edge-1
data_dir: %[1]s/data
vault: {address: %[2]s, mount: pki, token_file: %[3]s}
listen: {address: %[4]s}
`, f.dir, mount.Server.URL, writeFile(t, f.file("token"), edgemount.Token), address))
	launch(t, address, binary, "-config", settings)
	wait.Until(t, "the edge is ready", func() bool {
		status, body := f.get(t, "/readyz", nil)
		return status == http.StatusOK && len(body) > 0
	})
	return f
}

// leaf makes a certificate that names the edge as its OCSP responder and the place of
// its CRL.
func (f front) leaf(t testing.TB, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: f.serials[name].Big(), Subject: pkix.Name{CommonName: name + ".example.com"}, DNSNames: []string{name + ".example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		OCSPServer: []string{f.url + "/ocsp"}, CRLDistributionPoints: []string{f.url + "/crl/" + edgemount.IssuerName + ".crl"},
		IssuingCertificateURL: []string{f.url + "/ca/" + edgemount.IssuerName + ".cer"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, f.mount.CA, key.Public(), f.mount.Key)
	require.NoError(t, err)
	writeFile(t, f.file(name+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func (f front) get(t testing.TB, path string, header http.Header) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+path, nil)
	require.NoError(t, err)
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, body
}

func TestOpenSSLAsksTheEdge(t *testing.T) {
	f := startFront(t)
	openssl := tool(t, "openssl", "openssl")
	for _, digest := range []string{"-sha1", "-sha256"} {
		for name, want := range map[string]string{"good": ": good", "revoked": ": revoked"} {
			said := must(t, openssl, "ocsp", digest, "-issuer", f.file("ca.pem"), "-cert", f.file(name+".pem"), "-url", f.url+"/ocsp", "-CAfile", f.file("ca.pem"))
			require.Contains(t, said, "Response verify OK")
			require.Contains(t, said, f.file(name+".pem")+want)
			require.NotContains(t, said, "WARNING", "the nonce came back")
		}
	}
	said := must(t, openssl, "ocsp", "-issuer", f.file("ca.pem"), "-serial", "0x123456789abcdef0", "-url", f.url+"/ocsp", "-CAfile", f.file("ca.pem"))
	require.Contains(t, said, "0x123456789abcdef0: unknown", "a serial that was never issued is never good")
}

func TestOpenSSLTakesTheCRLOfTheEdge(t *testing.T) {
	f := startFront(t)
	openssl := tool(t, "openssl", "openssl")
	_, list := f.get(t, "/crl/web.crl", nil)
	writeFile(t, f.file("web.crl"), string(list))
	must(t, openssl, "crl", "-inform", "DER", "-in", f.file("web.crl"), "-out", f.file("crl.pem"))
	require.Contains(t, must(t, openssl, "verify", "-crl_check", "-CAfile", f.file("ca.pem"), "-CRLfile", f.file("crl.pem"), f.file("good.pem")), "OK")
	said, err := exec.CommandContext(t.Context(), openssl, "verify", "-crl_check", "-CAfile", f.file("ca.pem"), "-CRLfile", f.file("crl.pem"), f.file("revoked.pem")).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "certificate revoked")
	// It can also fetch the list where the certificate says that it is.
	require.Contains(t, must(t, openssl, "verify", "-crl_check", "-crl_download", "-CAfile", f.file("ca.pem"), f.file("good.pem")), "OK")
}

func TestCurlGetsFromTheEdge(t *testing.T) {
	f := startFront(t)
	openssl, curl := tool(t, "openssl", "openssl"), tool(t, "curl", "curl")
	for name, want := range map[string]string{"good": ": good", "revoked": ": revoked"} {
		must(t, openssl, "ocsp", "-no_nonce", "-issuer", f.file("ca.pem"), "-cert", f.file(name+".pem"), "-reqout", f.file("request.der"))
		encoded := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D", "\n", "").Replace(must(t, openssl, "base64", "-A", "-in", f.file("request.der")))
		headers := must(t, curl, "-sS", "-f", "-D", "-", "-o", f.file("response.der"), f.url+"/ocsp/"+encoded)
		require.Regexp(t, `(?i)content-type: application/ocsp-response`, headers)
		require.Regexp(t, `(?i)cache-control: .*max-age=\d+`, headers)
		said := must(t, openssl, "ocsp", "-respin", f.file("response.der"), "-issuer", f.file("ca.pem"), "-cert", f.file(name+".pem"), "-CAfile", f.file("ca.pem"))
		require.Contains(t, said, f.file(name+".pem")+want)
	}
	headers := must(t, curl, "-sS", "-f", "-D", "-", "-o", f.file("whole.crl"), f.url+"/crl/web.crl")
	require.Regexp(t, `(?i)content-type: application/pkix-crl`, headers)
	tag := regexp.MustCompile(`(?i)etag: (\S+)`).FindStringSubmatch(headers)
	require.NotNil(t, tag, headers)
	again := must(t, curl, "-sS", "-o", f.file("again.crl"), "-w", "%{http_code}", "-H", "If-None-Match: "+tag[1], f.url+"/crl/web.crl")
	require.Equal(t, "304", again)
	part := must(t, curl, "-sS", "-o", f.file("part.crl"), "-w", "%{http_code}", "-r", "0-9", f.url+"/crl/web.crl")
	require.Equal(t, "206", part)
	whole, err := os.ReadFile(f.file("whole.crl"))
	require.NoError(t, err)
	first, err := os.ReadFile(f.file("part.crl"))
	require.NoError(t, err)
	require.Equal(t, whole[:10], first)
}

func TestGnuTLSAsksTheEdge(t *testing.T) {
	f := startFront(t)
	ocsptool, certtool := tool(t, "ocsptool", "gnutls-bin"), tool(t, "certtool", "gnutls-bin")
	for name, want := range map[string]string{"good": "Certificate Status: good", "revoked": "Certificate Status: revoked"} {
		said, _ := exec.CommandContext(t.Context(), ocsptool, "--ask="+f.url+"/ocsp", "--load-cert", f.file(name+".pem"), "--load-issuer", f.file("ca.pem"), "--load-trust", f.file("ca.pem")).CombinedOutput()
		require.Contains(t, string(said), want)
		require.Contains(t, string(said), "Verifying OCSP Response: Success.")
	}
	_, list := f.get(t, "/crl/web.crl", nil)
	writeFile(t, f.file("web.crl"), string(list))
	said := must(t, certtool, "--crl-info", "--inder", "--infile", f.file("web.crl"))
	require.Contains(t, said, "Revoked certificates (1):")
	must(t, certtool, "--crl-info", "--inder", "--infile", f.file("web.crl"), "--outfile", f.file("crl.pem"))
	require.Contains(t, must(t, certtool, "--verify-crl", "--load-ca-certificate", f.file("ca.pem"), "--infile", f.file("crl.pem")), "Verified")
}

func TestGoAsksTheEdge(t *testing.T) {
	f := startFront(t)
	for name, want := range map[string]int{"good": ocsp.Good, "revoked": ocsp.Revoked} {
		leaf := &x509.Certificate{SerialNumber: f.serials[name].Big(), Raw: []byte{}}
		request, err := ocsp.CreateRequest(leaf, f.mount.CA, nil)
		require.NoError(t, err)
		response, err := http.Post(f.url+"/ocsp", "application/ocsp-request", bytes.NewReader(request))
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		answer, err := ocsp.ParseResponseForCert(body, leaf, f.mount.CA)
		require.NoError(t, err)
		require.Equal(t, want, answer.Status)
		if want == ocsp.Revoked {
			require.Equal(t, ocsp.KeyCompromise, answer.RevocationReason)
		}
	}
	_, body := f.get(t, "/crl/web.crl", nil)
	list, err := x509.ParseRevocationList(body)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(f.mount.CA))
	require.Equal(t, int64(17), list.Number.Int64())
	require.Len(t, list.RevokedCertificateEntries, 1)
	_, body = f.get(t, "/ca/web.cer", nil)
	require.Equal(t, f.mount.CA.Raw, body)
}

// Java fetches from where the certificates say: nothing here tells it the edge's
// address.
func TestJavaAsksTheEdge(t *testing.T) {
	f := startFront(t)
	java := tool(t, "java", "default-jdk-headless")
	for way, reason := range map[string]string{"ocsp": "KEY_COMPROMISE", "crl": "UNSPECIFIED"} { // the stand-in's list gives no reasons
		said := must(t, java, "testdata/Revocation.java", way, f.file("ca.pem"), f.file("good.pem"), f.file("revoked.pem"))
		require.Equal(t, "good\nrevoked: "+reason+"\n", said, way)
	}
}

// The commands that the page shows do what it says, typed as they are.
func TestCommandsOfThePage(t *testing.T) {
	f := startFront(t)
	_, page := f.get(t, "/", nil)
	ran := 0
	for _, found := range regexp.MustCompile(`(?s)<pre[^>]*><code>(.*?)</code></pre>`).FindAllStringSubmatch(string(page), -1) {
		commands := html.UnescapeString(found[1])
		if !strings.Contains(commands, "openssl ") {
			continue // Windows, or changes this machine
		}
		ran++
		ctx, cancel := wait.Context(t.Context())
		defer cancel()
		shell := exec.CommandContext(ctx, "sh", "-e", "-c", "ln -sf good.pem server.pem\n"+commands)
		shell.Dir = f.dir
		said, err := shell.CombinedOutput()
		require.NoError(t, err, "%s\n%s", commands, said)
		switch {
		case strings.Contains(commands, "openssl ocsp"):
			require.Contains(t, string(said), "server.pem: good")
		case strings.Contains(commands, "openssl verify"):
			require.Contains(t, string(said), "server.pem: OK")
		case strings.Contains(commands, "openssl crl"):
			require.Contains(t, string(said), "verify OK")
		case strings.Contains(commands, "openssl x509"):
			fingerprint := regexp.MustCompile(`([0-9A-F]{2}:){31}[0-9A-F]{2}`).FindString(string(said))
			require.Contains(t, strings.ReplaceAll(string(page), "<wbr>", ""), fingerprint)
		}
	}
	require.Equal(t, 4, ran)
}

func TestPageOfTheEdgeInABrowser(t *testing.T) {
	f := startFront(t)
	shown := browser.Start(t).Open(t, f.url, browser.Screen{Width: 360, Height: 740})
	require.Contains(t, browser.Evaluate[string](t, shown, "document.body.innerText"), "Edge Test CA")
	require.Contains(t, browser.Evaluate[string](t, shown, "document.body.innerText"), "Up to date")
	require.LessOrEqual(t, browser.Evaluate[int](t, shown, "document.documentElement.scrollWidth"), 360)
	require.Empty(t, shown.Complaints())
	name, list := shown.Download(t, `a[href$="/crl/web.crl"]`)
	require.Equal(t, "web.crl", name)
	parsed, err := x509.ParseRevocationList(list)
	require.NoError(t, err)
	require.NoError(t, parsed.CheckSignatureFrom(f.mount.CA))
	for _, link := range browser.Evaluate[[]string](t, shown, `[...document.querySelectorAll("a[download]")].map(a => a.getAttribute("href"))`) {
		status, body := f.get(t, link, nil)
		require.Equal(t, http.StatusOK, status, link)
		require.NotEmpty(t, body, link)
	}
	must(t, tool(t, "openssl", "openssl"), "pkcs7", "-inform", "DER", "-in", f.download(t, "/ca/bundle.p7c"), "-print_certs", "-noout")
	require.Contains(t, must(t, tool(t, "openssl", "openssl"), "verify", "-CAfile", f.download(t, "/ca/bundle.pem"), f.file("good.pem")), "OK")
}

func (f front) download(t testing.TB, path string) string {
	t.Helper()
	status, body := f.get(t, path, nil)
	require.Equal(t, http.StatusOK, status, path)
	return writeFile(t, f.file(filepath.Base(path)), string(body))
}
