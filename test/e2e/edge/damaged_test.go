package edge_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/test/edgemount"
)

// damages are what can become of each kind of file, with what the edge says of it in
// its log, which requests fetch it anew, and what is answered without Vault: OCSP, and
// the status of the list.
var damages = map[string]struct {
	file, log, request string
	ocsp               string
	list               int
}{
	"rows":   {"rows", "no rows on disk: all are fetched", "status", "tryLater", http.StatusOK},
	"record": {"held.json", "what was held cannot be read and is fetched anew", "manifest", "tryLater", http.StatusServiceUnavailable},
	"list":   {"lists/*", "a list on disk is damaged and is fetched anew", "crl", "revoked", http.StatusNotFound},
	"signer": {"responder-*.json", "the OCSP signer on disk cannot be read and is replaced", "signer", "tryLater", http.StatusOK},
}

// early is where files are damaged: rows at the first portion, without which none is left.
const early = 40

// Each kind of file is damaged between two runs. With Vault the edge says so and fetches
// it anew; without, it answers from what is whole, and never from what is not.
func TestCrash1_DamagedCopiesOfAnEdge(t *testing.T) {
	mount := edgemount.New(t, time.Now)
	serial := mount.Good()
	mount.Revoke(serial, cert.KeyCompromise)
	der := mount.List(t, 7, serial)
	w := watch(t, mount.Server.URL, "pki", edgemount.Token, mount.CA)
	whole := func(what string) {
		w.until(what, func() bool {
			_, list := w.get("/crl/" + edgemount.IssuerName + ".crl")
			status, _ := w.get("/readyz")
			return status == http.StatusOK && w.says(serial.Big()) == "revoked" && string(list) == string(der) && w.has("rows", "held.json", "lists/*", "responder-*.json")
		})
	}
	w.start(w.settings)
	whole("the edge has everything")
	for kind, damage := range damages {
		for name, edit := range map[string]func(content []byte) []byte{
			"another bit": func(content []byte) []byte { content[early] ^= 1; return content },
			"cut":         func(content []byte) []byte { return content[:early] },
			"empty":       func([]byte) []byte { return nil },
		} {
			w.end(syscall.SIGTERM)
			found, err := filepath.Glob(filepath.Join(w.dir, damage.file))
			require.NoError(t, err)
			require.Len(t, found, 1, kind)
			content, err := os.ReadFile(found[0])
			require.NoError(t, err)
			writeFile(t, found[0], string(edit(content)))
			writeFile(t, w.log, "")
			w.start(w.away())
			w.until("the edge has asked, and says what is wrong", func() bool {
				return w.metric("pki_edge_polls_total") > 0 && strings.Contains(w.logged(), damage.log)
			})
			status, _ := w.get("/crl/" + edgemount.IssuerName + ".crl")
			require.Equal(t, damage.list, status, "%s: %s", kind, name)
			w.until("a signer was looked for", func() bool { return damage.ocsp == "tryLater" || w.says(serial.Big()) != "tryLater" })
			require.Equal(t, damage.ocsp, w.says(serial.Big()), "%s: %s", kind, name)
			w.end(syscall.SIGTERM)
			requests := mount.Requests(damage.request)
			w.start(w.settings)
			whole("the edge has everything again: " + kind)
			require.Greater(t, mount.Requests(damage.request), requests, kind)
		}
	}
}

// has reports whether there is a file of each pattern.
func (w *watched) has(patterns ...string) bool {
	for _, pattern := range patterns {
		if found, err := filepath.Glob(filepath.Join(w.dir, pattern)); err != nil || len(found) == 0 {
			return false
		}
	}
	return true
}
