package storage_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// body is the JSON of a request or a response.
type body = map[string]any

// known is one certificate that the earlier build has signed.
type known struct {
	Serial    string `json:"serial"`
	Issuer    string `json:"issuer"` // name
	Role      string `json:"role"`
	State     string `json:"state"` // active, revoked, suspended, unstored, or expired and removed
	Reason    string `json:"reason"`
	RevokedAt int64  `json:"revocation_time"`
	DER       []byte `json:"certificate"`
}

// facts are responses of the earlier build.
type facts struct {
	Issuers         map[string]body   `json:"issuers"` // by name
	Certificates    []known           `json:"certificates"`
	CRLNumbers      map[string]string `json:"crl_numbers"` // of complete CRLs, by issuer name
	Config          map[string]body   `json:"config"`
	Roles           map[string]body   `json:"roles"`
	Profiles        map[string]body   `json:"profiles"`
	Publishers      map[string]body   `json:"publishers"`
	Keys            map[string]body   `json:"keys"`
	Deleted         map[string]string `json:"deleted"` // id and certificate of a deleted issuer
	ExternalRevoked []string          `json:"external_revoked"`
	ExternalKey     string            `json:"external_key"`
	Bulk            body              `json:"bulk"`
	Tidy            body              `json:"tidy"`
}

// read reads a file of test data.
func read(t *testing.T, build, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", build, name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

// written returns the storage that a build has written, and what it said of it.
func written(t *testing.T, build string) (logical.Storage, facts) {
	t.Helper()
	var entries map[string][]byte
	read(t, build, "storage.json", &entries)
	storage := &logical.InmemStorage{}
	for key, value := range entries {
		require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: value}))
	}
	var said facts
	read(t, build, "facts.json", &said)
	return storage, said
}

// mountOn starts the engine on some storage and waits until it has come to rest.
func mountOn(t *testing.T, storage logical.Storage) (*pathstest.Mount, *pathstest.Counted) {
	t.Helper()
	m := pathstest.InProcess(t)
	m.System.MaxLeaseTTLVal = 100 * 365 * 24 * time.Hour
	m.Storage = storage
	counted := m.Count(t)
	rest(t, m, counted)
	return m, counted
}

// rest has the regular work done.
func rest(t *testing.T, m *pathstest.Mount, counted *pathstest.Counted) {
	t.Helper()
	counted.Settle(t)
	_, err := m.Backend().HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.Storage})
	require.NoError(t, err)
	counted.Settle(t)
}

// dump returns every storage entry.
func dump(t *testing.T, storage logical.Storage) map[string]string {
	t.Helper()
	entries := map[string]string{}
	var walk func(prefix string)
	walk = func(prefix string) {
		names, err := storage.List(t.Context(), prefix)
		require.NoError(t, err)
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				walk(prefix + name)
				continue
			}
			entry, err := storage.Get(t.Context(), prefix+name)
			require.NoError(t, err)
			entries[prefix+name] = base64.StdEncoding.EncodeToString(entry.Value)
		}
	}
	walk("")
	return entries
}

// lasting is dump without what each start writes.
func lasting(t *testing.T, storage logical.Storage) map[string]string {
	t.Helper()
	entries := dump(t, storage)
	delete(entries, layout.Fence)
	return entries
}

// store shows Vault's storage as kv.Store.
type store struct{ logical.Storage }

func (s store) Get(ctx context.Context, key string) ([]byte, error) {
	entry, err := s.Storage.Get(ctx, key)
	if entry == nil || err != nil {
		return nil, err
	}
	return entry.Value, nil
}

func (s store) Put(ctx context.Context, key string, value []byte) error {
	return s.Storage.Put(ctx, &logical.StorageEntry{Key: key, Value: value})
}

// check returns what fsck calls broken.
func check(t *testing.T, storage logical.Storage) []string {
	t.Helper()
	report, err := fsck.Check(t.Context(), store{storage})
	require.NoError(t, err)
	var broken []string
	for _, finding := range report.Findings {
		if finding.Severity == fsck.Broken {
			broken = append(broken, finding.String())
		}
	}
	return broken
}
