//go:build cgo

package issue_test

import (
	"context"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/catalog"
	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/keyring"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/places"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// recorder is storage that does something once, right after a page was written.
type recorder struct {
	*kvtest.Store
	written func()
}

func (r *recorder) Put(ctx context.Context, key string, value []byte) error {
	err := r.Store.Put(ctx, key, value)
	if then := r.written; strings.HasPrefix(key, layout.Page) && then != nil {
		r.written = nil
		then()
	}
	return err
}

// vanishing is a mount whose CA keys are in a token, which loses all its keys as soon
// as the next page is on record.
func vanishing(t *testing.T) (m *mount, arm func()) {
	t.Helper()
	store := &recorder{Store: kvtest.New()}
	log, clock := hclog.NewNullLogger(), func() time.Time { return now }
	made := token.New(t, "intents")
	ring := keyring.New(keyring.Config{Store: store, Log: log, Mount: "test"})
	t.Cleanup(ring.Close)
	require.NoError(t, ring.PutToken(t.Context(), "t", keyring.TokenConfig{Module: made.Module, TokenSerial: made.Serial, PIN: made.PIN}))
	m = &mount{store: store.Store, catalog: catalog.New(store)}
	m.issuers = issuer.New(issuer.Config{Store: store, Ring: ring, Log: log, Now: clock})
	m.ledger = ledger.New(ledger.Config{Store: store, Log: log, Now: clock})
	require.NoError(t, m.ledger.Load(t.Context()))
	m.issue = issue.New(issue.Config{Catalog: m.catalog, Issuers: m.issuers, Ledger: m.ledger, Places: places.New(store, clock), Log: log, Now: clock})
	beside, err := hsm.Open(t.Context(), hsm.Config{Module: made.Module, TokenSerial: made.Serial, PIN: made.PIN})
	require.NoError(t, err)
	t.Cleanup(beside.Close)
	return m, func() {
		store.written = func() {
			pairs, err := beside.List(t.Context(), nil)
			require.NoError(t, err)
			require.NotEmpty(t, pairs)
			for _, pair := range pairs {
				require.NoError(t, beside.Destroy(t.Context(), pair.ID))
			}
		}
	}
}

// For a signature with such reach, "signed but unrecorded" must be impossible. Who
// signs after the intent is on record finds no key here; who signs before has signed.
func TestCrash1_IntentIsOnRecordBeforeACAKeyIsUsed(t *testing.T) {
	root := issue.CARequest{
		Key: issuer.KeyChoice{Spec: cert.P256, Token: "t"}, Name: "root", Subject: pkix.Name{CommonName: "Root"},
		Profile: profile.ForCA(profile.KindRoot), TTL: 10 * 365 * 24 * time.Hour,
	}
	for name, sign := range map[string]func(t *testing.T, m *mount) error{
		"root": func(t *testing.T, m *mount) error {
			_, _, err := m.issue.Root(t.Context(), root, role.Identity{})
			return err
		},
		"subordinate CA": func(t *testing.T, m *mount) error {
			_, err := m.issue.SignIntermediate(t.Context(), issue.CARequest{
				Subordinate: issue.Subordinate{Issuer: "root", CSR: csr(t, newKey(t), "Issuing")},
				Subject:     pkix.Name{CommonName: "Issuing"}, Profile: profile.ForCA(profile.KindSubCA), TTL: 5 * 365 * 24 * time.Hour,
			}, role.Identity{})
			return err
		},
		"responder": func(t *testing.T, m *mount) error {
			parent, err := m.issuers.Get(t.Context(), "root")
			require.NoError(t, err)
			_, err = m.issue.Delegate(t.Context(), parent, newKey(t).Public(), 24*time.Hour, role.Identity{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, arm := vanishing(t)
			recorded := 0
			if name != "root" {
				_, _, err := m.issue.Root(t.Context(), root, role.Identity{})
				require.NoError(t, err)
				recorded = 1
			}
			arm()
			err := sign(t, m)
			require.Error(t, err, "signed before its intent was on record")
			require.True(t, fault.Is(err, fault.NotFound), "%v", err)
			report, err := fsck.Check(t.Context(), m.store)
			require.NoError(t, err)
			require.NoError(t, report.Err())
			require.Equal(t, 1, report.Intents)
			require.Equal(t, recorded, m.ledger.Count())
		})
	}
}
