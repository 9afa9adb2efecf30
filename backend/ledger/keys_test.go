package ledger_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
)

// issueFor commits a certificate for a key and an owner.
func issueFor(t testing.TB, l *ledger.Ledger, key crypto.Signer, owner string) cert.Serial {
	t.Helper()
	page, err := l.NewPage(1)
	require.NoError(t, err)
	r := ledger.Record{Serial: page.Serial(), Owner: owner, Profile: "p@1"}
	if owner == "b" || chance(8) == 0 {
		r.Profile = "p@2"
	}
	planned := template(r.Serial, "host")
	r.DER, err = x509.CreateCertificate(nil, planned, planned, key.Public(), key)
	require.NoError(t, err)
	require.NoError(t, page.Add(r))
	require.NoError(t, l.Commit(t.Context(), page))
	return r.Serial
}

var compromises = []cert.Reason{cert.KeyCompromise, cert.CACompromise, cert.AACompromise}

// requireKeyAnswers compares the short answers about keys with what all rows say.
func requireKeyAnswers(t testing.TB, l *ledger.Ledger, now time.Time, keys []cert.Fingerprint, owners []string) {
	t.Helper()
	for _, key := range keys {
		rows, err := l.ByKey(key)
		require.NoError(t, err)
		compromised, uses, live := map[cert.Serial]bool{"": true}, map[string]bool{}, map[string]bool{}
		for row := range rows {
			uses[row.Owner] = true
			if !row.NotAfter.Before(now) && (row.RevokedAt.IsZero() || row.Reason == cert.CertificateHold) {
				live[row.Profile] = true
			}
			if !row.RevokedAt.IsZero() && slices.Contains(compromises, row.Reason) {
				delete(compromised, "")
				compromised[row.Serial] = true
			}
		}
		serial, err := l.Compromised(key)
		require.NoError(t, err)
		require.True(t, compromised[serial], "%q is none of %q", serial, compromised)
		profiles, err := l.KeyProfiles(key)
		require.NoError(t, err)
		require.ElementsMatch(t, slices.Collect(maps.Keys(live)), profiles)
		for _, owner := range owners {
			other, err := l.OtherOwner(key, owner)
			require.NoError(t, err)
			require.Equal(t, len(uses) > 1 || len(uses) == 1 && !uses[owner], other, "%s among %v", owner, uses)
		}
	}
}

// Whatever was issued, revoked and loaded anew, the answers are those of the rows.
func TestKeyAnswersAreThoseOfTheRows(t *testing.T) {
	store, clock := kvtest.New(), newClock()
	l := loaded(t, store, clock)
	owners := []string{"", "a", "b"}
	var keys []crypto.Signer
	var hashes []cert.Fingerprint
	for range 6 {
		keys = append(keys, newKey())
		hashes = append(hashes, fingerprint(t, keys[len(keys)-1].Public()))
	}
	for step := range 120 {
		n := chance(len(keys))
		owner := owners[n%len(owners)]
		if chance(8) == 0 {
			owner = owners[chance(len(owners))]
		}
		serial := issueFor(t, l, keys[n], owner)
		if reason := cert.Reason(chance(32)); reason.Known() && reason != cert.RemoveFromCRL {
			_, _, err := l.Revoke(t.Context(), serial, revocation(reason))
			require.NoError(t, err)
		}
		if step%10 == 0 {
			requireKeyAnswers(t, l, clock.Now(), hashes, owners)
		}
	}
	requireKeyAnswers(t, l, clock.Now(), hashes, owners)
	requireKeyAnswers(t, loaded(t, store, clock), clock.Now(), hashes, owners)
	clock.turn(91 * 24 * time.Hour)
	requireKeyAnswers(t, l, clock.Now(), hashes, owners)
}

// chance returns a number below n, which is small.
func chance(n int) int {
	var octet [1]byte
	rand.Read(octet[:])
	return int(octet[0]) % n
}

func TestKeyAnswersOfTheHotPathAllocateNothing(t *testing.T) {
	l := loaded(t, kvtest.New(), newClock())
	key := newKey()
	for range 3 {
		issueFor(t, l, key, "a")
	}
	hash := fingerprint(t, key.Public())
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = l.Compromised(hash)
		_, _ = l.OtherOwner(hash, "a")
	}))
}
