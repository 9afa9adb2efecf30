package fsck_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// stored is the record of one issuer.
type stored map[string]any

// caOf returns the DER of a CA certificate.
func caOf(t *testing.T, name string, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}

func keyFor(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func (m *mount) issuers(t *testing.T, records map[string]stored) {
	t.Helper()
	for id, record := range records {
		record["id"] = id
		raw, err := json.Marshal(map[string]any{"v": 1, "r": record})
		require.NoError(t, err)
		m.put(t, layout.Issuer+id, raw)
	}
}

// findings returns what a check finds below issuer/ and crl-head/, and its severity.
func (m *mount) findings(t *testing.T, at time.Time) string {
	t.Helper()
	report, err := fsck.CheckAt(t.Context(), m.store, at)
	require.NoError(t, err)
	var found []string
	for _, finding := range report.Findings {
		found = append(found, finding.String())
	}
	return strings.Join(found, "\n")
}

func TestCa5_CertificatesOfNoKnownCAAreFound(t *testing.T) {
	der := caOf(t, "CA", keyFor(t))
	for name, test := range map[string]struct {
		records map[string]stored
		wrong   string
	}{
		"no issuer at all":   {nil, ""}, // rows alone: a ledger that was moved here
		"known":              {map[string]stored{"issuer": {"state": "active", "certificate": der}}, ""},
		"deleted":            {map[string]stored{"issuer": {"state": "deleted", "certificate": der}}, ""},
		"taken over":         {map[string]stored{"heir": {"state": "active", "certificate": der, "former_ids": []string{"issuer"}}}, ""},
		"of another issuer":  {map[string]stored{"other": {"state": "active", "certificate": der}}, "broken issuer/issuer: 3 certificates that have not expired"},
		"damaged but listed": {map[string]stored{"issuer": {"state": "active", "certificate": []byte("x")}}, "broken issuer/issuer: x509"},
	} {
		m := newMount(t)
		m.issuers(t, test.records)
		found := m.findings(t, time.Time{})
		if test.wrong == "" {
			require.Empty(t, found, name)
			continue
		}
		require.Contains(t, found, test.wrong, name)
	}

	m := newMount(t)
	m.put(t, layout.ConfigIssuers, []byte(`{"v":1,"r":{}}`))
	require.Contains(t, m.findings(t, time.Time{}), "broken issuer/issuer", "config/issuers says that there were issuers")
	require.NotContains(t, m.findings(t, now.Add(100*365*24*time.Hour)), "broken issuer/issuer", "they have expired")
}

func TestCa5_RespondersOfADeletedCAAreNoCertificatesOfIt(t *testing.T) {
	m := newMount(t)
	m.profile = "ocsp-responder@0"
	m.issue(t, 1)
	m.issuers(t, map[string]stored{"other": {"state": "active", "certificate": caOf(t, "CA", keyFor(t))}})
	require.Contains(t, m.findings(t, time.Time{}), "3 certificates", "not four")
}

func TestCa5_RecordsOfIssuersAreChecked(t *testing.T) {
	key := keyFor(t)
	der := caOf(t, "CA", key)
	for wrong, records := range map[string]map[string]stored{
		"another issuer with its subject and key as one of CA": {
			"issuer": {"state": "active", "certificate": der, "ca": "aa"},
			"twin":   {"state": "active", "certificate": caOf(t, "ca", key), "ca": "bb"},
		},
		"is deleted and has no certificate": {"issuer": {"state": "deleted"}},
		"both taken over the certificates of lost": {
			"issuer": {"state": "active", "certificate": der, "former_ids": []string{"lost"}},
			"twin":   {"state": "active", "certificate": der, "former_ids": []string{"lost"}},
		},
		"which is there": {
			"issuer": {"state": "active", "certificate": der, "former_ids": []string{"twin"}},
			"twin":   {"state": "active", "certificate": der},
		},
		"which this release does not know": {"issuer": {"state": "asleep", "certificate": der}},
		"has the form of an id": {
			"issuer": {"state": "active", "certificate": der, "settings": map[string]any{"issuer_name": "0a1b2c3d-0a1b-4c3d-8a1b-0a1b2c3d4e5f"}},
		},
	} {
		m := newMount(t)
		m.issuers(t, records)
		found := m.findings(t, time.Time{})
		require.Contains(t, found, wrong)
		require.Len(t, strings.Split(found, "\n"), 1, found)
	}
	m := newMount(t)
	m.issuers(t, map[string]stored{"issuer": {"state": "active", "certificate": der}})
	m.list(t, "gone")
	require.Contains(t, m.findings(t, time.Time{}), "notice crl-head/gone: belongs to no CA")
}

func TestSequenceNumbersTellTheTime(t *testing.T) {
	m := newMount(t)
	row, found, err := m.ledger.Row(m.recent)
	require.NoError(t, err)
	require.True(t, found)
	at := ledger.SequenceTime(row.Sequence) // counted from the start of the process
	require.False(t, at.Before(now.Truncate(time.Second)) || at.After(m.clock), at)
}
