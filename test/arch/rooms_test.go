package arch_test

import (
	"slices"
	"strings"
)

// room is one package of the module and what it may import of ours. Imports run
// straight down: every import must be on a lower floor, so rooms on one floor do not
// know each other.
type room struct {
	floor   int
	path    string // below the module
	imports string // paths below the module, those of rooms without "backend/"
}

// rooms is the import table. A new package, or a new import, is a row changed here:
// the place to argue about it.
var rooms = []room{
	{0, "backend/fault", ""},
	{0, "backend/layout", ""},
	{0, "backend/span", ""},

	{1, "backend/job", "fault"},
	{1, "backend/kv", "fault"},
	{1, "backend/cert", "fault"},

	{2, "backend/kv/kvtest", "kv"},
	{2, "backend/feed", "fault cert"},
	{2, "backend/places", "fault kv layout"},
	{2, "backend/profile", "fault cert"},
	{2, "backend/lint", "fault cert"},
	{2, "backend/hsm", "fault cert"},
	{2, "backend/sign", "fault cert"},

	{3, "backend/hsm/hsmtest", "fault cert hsm"},
	{3, "backend/role", "fault cert profile"},
	{3, "backend/publisher", "fault cert feed kv layout"},
	{3, "backend/keypool", "fault cert kv layout"},
	{3, "backend/keyring", "fault cert kv layout hsm"},
	{3, "backend/ledger", "fault cert kv layout"},

	{4, "backend/issuer", "fault cert kv layout profile lint sign keyring ledger"},

	{5, "backend/catalog", "fault cert kv layout profile lint sign role keyring issuer"},

	{6, "backend/issue", "fault cert places profile lint sign role keypool keyring ledger issuer catalog"},
	{6, "backend/revoke", "fault cert job kv layout keyring ledger issuer catalog"},
	{6, "backend/crl", "fault span cert kv layout lint sign ledger"},
	{6, "backend/ocsp", "fault cert kv layout profile lint sign ledger"},

	{7, "backend/ceremony", "fault cert profile lint sign hsm crl"},
	{7, "backend/tidy", "fault span cert job kv layout ledger issuer crl ocsp places"},
	{7, "backend/fsck", "fault cert job kv layout profile lint sign role keyring ledger issuer catalog revoke crl ocsp places"},

	{8, "backend", "fault cert kv layout profile lint sign role hsm keypool keyring ledger issuer catalog issue revoke crl ocsp publisher feed places tidy fsck"},

	{9, "edge/config", "fault"},
	{9, "edge/page", "cert"},
	{9, "edge/state", "fault cert feed"},
	{10, "edge/disk", "fault feed edge/state"},
	{10, "edge/publish", "fault feed edge/config"},
	{10, "edge/serve", "fault cert ocsp edge/state"},
	{10, "edge/vault", "fault cert feed edge/config"},
	{11, "edge/mirror", "fault feed edge/disk edge/state edge/vault"},
	{11, "edge/selftest", "fault cert edge/config edge/vault"},
	{11, "edge/signer", "fault cert sign hsm ocsp edge/config edge/disk edge/state"},
	{12, "edge", "fault cert feed ocsp edge/config edge/disk edge/mirror edge/page edge/publish edge/serve edge/signer edge/state edge/vault"},

	{9, "paths/schema", "fault span cert"},

	{10, "paths", "backend paths/schema fault cert kv layout profile lint sign role hsm keypool keyring ledger issuer catalog issue revoke crl ocsp publisher feed tidy fsck"},

	{11, "cmd/vault-plugin-secrets-enterprise-pki", "paths"},
	{11, "cmd/pki-ceremony", "ceremony fault cert profile lint sign hsm crl"},
	{13, "cmd/pki-edge", "fault edge edge/config edge/selftest"},

	{11, "paths/pathstest", "paths test/wait"},
	{1, "test/token", "test/wait"},
	{0, "test/wait", ""},
	{1, "test/browser", "test/wait"},
	{3, "test/edgemount", "cert feed"},
	{12, "test/arch", "layout"},
	{12, "test/attack", "paths/pathstest test/token test/wait"},
	{12, "test/storage", "paths/pathstest layout"},
	{12, "test/e2e", "test/e2e/harness test/wait fault cert"},
	{12, "test/e2e/edge", "test/e2e/harness test/edgemount test/wait cert feed edge/config edge/publish"},
	{11, "test/e2e/harness", "test/wait"},
	{12, "test/load", "test/e2e/harness test/wait"},
	{13, "test/load/bench", "test/load"},
}

// forTests may be imported by the tests of every room, whatever its floor: the one
// fake, the checker with which fault walks end, real tokens and their suite, a real
// browser, a mount in process, and one that only edges take for real.
var forTests = []string{"backend/kv/kvtest", "backend/fsck", "test/token", "test/browser", "backend/hsm/hsmtest", "paths/pathstest", "test/edgemount", "test/wait"}

// vaultImporters are the folders, with all below them, that may import Vault's SDK
// and API. Nothing may import Vault itself.
var vaultImporters = []string{"cmd/vault-plugin-secrets-enterprise-pki", "paths", "test/attack", "test/storage", "test/e2e"}

// rims are the only places where the product takes the time of the clock: one call
// in the files below each folder.
var rims = map[string][]string{
	"the plugin":   {"cmd/vault-plugin-secrets-enterprise-pki", "paths"},
	"pki-ceremony": {"cmd/pki-ceremony"},
	"pki-edge":     {"cmd/pki-edge", "edge"},
}

// offline are the commands that link no network code.
var offline = []string{"cmd/pki-ceremony"}

// The sizes to stay under, in lines and fields.
const (
	maxFile         = 400
	maxFunction     = 60
	maxTestFunction = 120 // its tables are data
	maxFields       = 12
)

// records are structs that hold more fields than maxFields because they are one
// record of the API or of storage, each with its reason. A struct all of whose fields
// have a json tag is one and need not be listed.
var records = map[string]string{
	"backend.Backend":       "the rooms of one mount",
	"backend/ledger.Record": "the stored record of a certificate",
	"backend/ledger.Row":    "the columns that questions ask for",
	"backend/ledger.row":    "the same, packed for memory",
}

// longFiles are files that may exceed maxFile, each with its reason.
var longFiles = map[string]string{}

// allowed returns the row's imports as paths below the module.
func (r room) allowed() []string {
	var paths []string
	for _, name := range strings.Fields(r.imports) {
		top, _, _ := strings.Cut(name, "/")
		if !slices.Contains([]string{"backend", "paths", "edge", "cmd", "test"}, top) {
			name = "backend/" + name
		}
		paths = append(paths, name)
	}
	return paths
}

// byPath returns the table by path.
func byPath() map[string]room {
	table := map[string]room{}
	for _, r := range rooms {
		table[r.path] = r
	}
	return table
}

// below returns every room that a room may reach through its imports.
func below(path string, table map[string]room, seen map[string]bool) map[string]bool {
	for _, next := range table[path].allowed() {
		if !seen[next] {
			seen[next] = true
			below(next, table, seen)
		}
	}
	return seen
}
