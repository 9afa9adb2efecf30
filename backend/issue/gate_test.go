package issue_test

import (
	"crypto"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issue"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// unread returns the mount after a restart, with a ledger that has read no row yet.
func unread(t *testing.T, store *kvtest.Store) *mount {
	t.Helper()
	m := open(t, store)
	m.ledger = ledger.New(ledger.Config{Store: store, Log: hclog.NewNullLogger(), Now: func() time.Time { return now }})
	m.issue = issue.New(issue.Config{
		Catalog: m.catalog, Issuers: m.issuers, Ledger: m.ledger, Keys: m.issue.Keys, Log: hclog.NewNullLogger(), Now: m.issue.Now,
	})
	return m
}

// askers are the requests that bring a key.
var askers = map[string]func(t *testing.T, m *mount, key crypto.Signer) error{
	"sign": func(t *testing.T, m *mount, key crypto.Signer) error {
		_, err := m.issue.Sign(t.Context(), issue.Request{Role: "web", CSR: csr(t, key, "a.example.com")}, role.Identity{})
		return err
	},
	"batch": func(t *testing.T, m *mount, key crypto.Signer) error {
		outcomes, err := m.issue.Batch(t.Context(), []issue.Request{{Role: "web", CSR: csr(t, key, "a.example.com")}}, role.Identity{})
		require.NoError(t, err)
		return outcomes[0].Err
	},
	"sign-intermediate": func(t *testing.T, m *mount, key crypto.Signer) error {
		_, err := m.issue.SignIntermediate(t.Context(), issue.CARequest{
			Subordinate: issue.Subordinate{Issuer: "default", CSR: csr(t, key, "Issuing")}, Subject: pkix.Name{CommonName: "Issuing"},
			Profile: profile.ForCA(profile.KindSubCA), TTL: time.Hour,
		}, role.Identity{})
		return err
	},
	"delegate": func(t *testing.T, m *mount, key crypto.Signer) error {
		parent, err := m.issuers.Get(t.Context(), issuer.DefaultRef)
		require.NoError(t, err)
		_, err = m.issue.Delegate(t.Context(), parent, key.Public(), time.Hour, role.Identity{})
		return err
	},
}

// TestKey1_TheGateWaitsForTheLedger: what is not known yet may be a compromise.
func TestKey1_TheGateWaitsForTheLedger(t *testing.T) {
	m := start(t, nil)
	key := newKey(t)
	result, err := m.issue.Sign(t.Context(), issue.Request{Role: "web", CSR: csr(t, key, "a.example.com")}, role.Identity{})
	require.NoError(t, err)
	_, _, err = m.ledger.Revoke(t.Context(), result.Serial, ledger.Revocation{At: now, Reason: cert.KeyCompromise})
	require.NoError(t, err)
	for name, ask := range askers {
		t.Run(name, func(t *testing.T) {
			again := unread(t, m.store)
			require.ErrorContains(t, ask(t, again, key), "compromised", "the gate did not wait for the ledger")
			require.NoError(t, ask(t, unread(t, m.store), newKey(t)))

			again = unread(t, m.store)
			warm := issue.Request{Role: "web", KeyType: "ec", Names: role.Ask{CommonName: "a.example.com"}}
			_, err := again.issue.Simulate(t.Context(), warm, role.Identity{})
			require.NoError(t, err, "a key that the engine makes has no history")
			require.False(t, again.ledger.Loaded())
			m.store.Break(1, kvtest.LoseWrite)
			err = ask(t, again, newKey(t))
			require.True(t, m.store.Broken())
			require.True(t, fault.Is(err, fault.Unavailable), "a ledger that cannot be read lets nothing pass: %v", err)
			require.ErrorContains(t, err, "the history of the key cannot be read")
		})
	}
}

// TestKey1_AKeyHasCertificatesOfOneKind: until the last one has ended or is revoked.
func TestKey1_AKeyHasCertificatesOfOneKind(t *testing.T) {
	for had := range askers {
		for wanted := range askers {
			if wanted == "batch" || had == "batch" {
				continue
			}
			m := start(t, nil)
			key := newKey(t)
			require.NoError(t, askers[had](t, m, key))
			err := askers[wanted](t, m, key)
			if had == wanted {
				require.NoError(t, err, "a retry, or a renewal with the same key: %s", had)
				continue
			}
			require.ErrorContains(t, err, "another kind", "%s after %s", wanted, had)
			require.Equal(t, "csr", fault.FieldOfError(err))
			rows, err := m.ledger.Rows("")
			require.NoError(t, err)
			for row := range rows {
				if row.Issuer != "" {
					_, _, err = m.ledger.Revoke(t.Context(), row.Serial, ledger.Revocation{At: now, Reason: cert.Superseded})
					require.NoError(t, err)
				}
			}
			require.NoError(t, askers[wanted](t, m, key), "%s after %s was revoked", wanted, had)
		}
	}
}
