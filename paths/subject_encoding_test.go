package paths_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// caConfig is an openssl CA that requires the organization and country of its own.
const caConfig = `[ca]
default_ca = own
[own]
dir = .
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
default_days = 365
policy = policy_match
x509_extensions = v3
[policy_match]
countryName = match
organizationName = match
commonName = supplied
[v3]
basicConstraints = critical,CA:TRUE
`

// openssl ca compares names octet by octet: a root whose organization is a UTF8String, as
// openssl makes it, signs a request only if it has the same string type.
func TestSubjectEncodingIsWhatOpensslCACompares(t *testing.T) {
	dir := t.TempDir()
	openssl := func(args ...string) error {
		command := exec.Command("openssl", args...)
		command.Dir = dir
		output, err := command.CombinedOutput()
		t.Logf("openssl %v: %s", args, output)
		return err
	}
	for name, text := range map[string]string{"ca.cnf": caConfig, "index.txt": "", "index.txt.attr": "unique_subject = no\n", "serial": "1000\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.NoError(t, openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-subj", "/C=DE/O=Old/CN=Root", "-days", "30", "-out", "root.pem"))
	m := pathstest.InProcess(t)
	for encoding, signed := range map[string]bool{"": false, "printable": false, "utf8": true} {
		asked := map[string]any{"common_name": "Issuing CA", "organization": "Old", "country": "DE"}
		if encoding != "" {
			asked["subject_encoding"] = encoding
		}
		csr := m.Write(t, "issuers/generate/intermediate/internal", asked).Expect(http.StatusOK).Text("csr")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.csr"), []byte(csr), 0o600))
		err := openssl("ca", "-batch", "-config", "ca.cnf", "-cert", "root.pem", "-keyfile", "root.key", "-in", "ca.csr", "-out", "ca.pem", "-notext")
		require.Equal(t, signed, err == nil, "%q: %v", encoding, err)
	}
	m.Write(t, "issuers/generate/intermediate/internal", map[string]any{"common_name": "x", "subject_encoding": "t61"}).Expect(http.StatusBadRequest)
}
