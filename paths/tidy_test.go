package paths_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/ledger"
	"vault-plugin-secrets-enterprise-pki/paths"
	"vault-plugin-secrets-enterprise-pki/paths/pathstest"
)

// plant gives a mount storage with certificates that ended days ago, the first of which
// was revoked. It is new storage: an engine that has begun to load may still write to
// the one it knows, and no two write a ledger at once.
func plant(t *testing.T, m *pathstest.Mount, n int) []cert.Serial {
	t.Helper()
	now := time.Now().Add(-10 * 24 * time.Hour)
	m.Storage = &logical.InmemStorage{}
	l := ledger.New(ledger.Config{Store: paths.NewStore(m.Storage), Now: func() time.Time { return now }})
	require.NoError(t, l.Load(t.Context()))
	key, err := cert.GenerateKey(cert.P256)
	require.NoError(t, err)
	var serials []cert.Serial
	for range n {
		page, err := l.NewPage(1)
		require.NoError(t, err)
		template := &x509.Certificate{
			SerialNumber: page.Serial().Big(), Subject: pkix.Name{CommonName: "old.example.com"}, NotBefore: now, NotAfter: now.Add(time.Hour),
		}
		der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
		require.NoError(t, err)
		serial := cert.SerialOf(template.SerialNumber)
		require.NoError(t, page.Add(ledger.Record{Serial: serial, DER: der, Issuer: "gone", IssuedAt: now}))
		require.NoError(t, l.Commit(t.Context(), page))
		serials = append(serials, serial)
	}
	_, _, err = l.Revoke(t.Context(), serials[0], ledger.Revocation{At: now, Reason: cert.Superseded})
	require.NoError(t, err)
	require.NoError(t, l.Flush(t.Context()))
	m.Restart(t)
	return serials
}

// settled reads a status until the work in the background has ended.
func settled(t *testing.T, m *pathstest.Mount, path, running string) pathstest.Answer {
	t.Helper()
	for {
		if answer := m.Read(t, path, nil).Expect(http.StatusOK); answer.Text("state") != running {
			return answer
		}
	}
}

// loaded waits until the mount answers questions about certificates.
func loaded(t *testing.T, m *pathstest.Mount) {
	t.Helper()
	for m.List(t, "certs/revoked/", nil).Status == http.StatusServiceUnavailable {
		continue
	}
}

func TestRev2_TidyRemovesWhatEndedLongAgo(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		old := plant(t, m, 3)
		withRoot(t, m)
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		m.Write(t, "revoke", map[string]any{"serial_number": issued.Text("serial_number")}).Expect(http.StatusOK)
		loaded(t, m)
		require.Equal(t, "Inactive", m.Read(t, "tidy-status", nil).Expect(http.StatusOK).Text("state"))

		idle := m.Write(t, "tidy", nil).OK()
		require.Len(t, idle.Warnings, 1)
		require.Contains(t, idle.Warnings[0], "No targets")
		began := m.Write(t, "tidy", map[string]any{"tidy_cert_store": true, "safety_buffer": "1s"}).OK()
		require.Len(t, began.Warnings, 1)
		require.Contains(t, began.Warnings[0], "started")
		done := settled(t, m, "tidy-status", "Running")
		require.Equal(t, "Finished", done.Text("state"), "%v", done.Data)
		require.EqualValues(t, 2, done.Number("cert_store_deleted_count"))
		require.EqualValues(t, 0, done.Number("revoked_cert_deleted_count"))
		require.EqualValues(t, 1, done.Number("safety_buffer"))
		require.Equal(t, true, done.Data["tidy_cert_store"])
		for _, name := range []string{"current_cert_store_count", "current_revoked_cert_count", "error", "message"} {
			require.Contains(t, done.Data, name)
			require.Nil(t, done.Data[name], name)
		}
		m.Read(t, "cert/"+old[1].String(), nil).Expect(http.StatusNotFound)
		m.Read(t, "cert/"+old[0].String(), nil).Expect(http.StatusOK)

		m.Patch(t, "config/auto-tidy", map[string]any{"maintain_stored_certificate_counts": true}).Expect(http.StatusOK)
		m.Write(t, "tidy", map[string]any{"tidy_revocation_list": "true", "safety_buffer": 1}).OK()
		done = settled(t, m, "tidy-status", "Running")
		require.EqualValues(t, 1, done.Number("revoked_cert_deleted_count"))
		require.EqualValues(t, 1, done.Number("current_revoked_cert_count"), "the one that has not ended stays")
		require.Positive(t, done.Number("current_cert_store_count"))
		require.NotEmpty(t, done.Text("time_started"))
		require.NotEmpty(t, done.Text("time_finished"))
		require.Positive(t, m.Read(t, "cert/"+issued.Text("serial_number"), nil).Expect(http.StatusOK).Number("revocation_time"))
		before := done.Text("time_finished")
		m.Restart(t)
		require.Equal(t, before, m.Read(t, "tidy-status", nil).Expect(http.StatusOK).Text("time_finished"), "a restart knows the last run")

		require.Contains(t, m.Write(t, "tidy-cancel", nil).Expect(http.StatusBadRequest).Errors[0], "none is currently running")
		for _, body := range []map[string]any{
			{"tidy_cert_store": true, "safety_buffer": -1},
			{"tidy_cert_store": true, "safety_buffer": "-1h"},
			{"tidy_cert_store": true, "safety_buffer": 0},
			{"safety_buffer": "2000000h"},
			{"tidy_acme": true},
			{"tidy_cert_store": true, "tidy_revoked_cert_issuer_associations": true},
		} {
			m.Write(t, "tidy", body).Expect(http.StatusBadRequest)
		}
	})
}

func TestTidyIsCancelledOverTheAPI(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		plant(t, m, 3)
		loaded(t, m)
		task := map[string]any{"tidy_cert_store": true, "tidy_revoked_certs": true, "safety_buffer": 1, "pause_duration": "1h"}
		m.Write(t, "tidy", task).OK()
		again := m.Write(t, "tidy", task).OK()
		require.Contains(t, again.Warnings[0], "already in progress")
		cancelled := m.Write(t, "tidy-cancel", nil).Expect(http.StatusOK)
		require.Contains(t, []string{"Cancelling", "Cancelled"}, cancelled.Text("state"))
		require.Equal(t, "Cancelled", settled(t, m, "tidy-status", "Cancelling").Text("state"))
	})
}

// What the Terraform provider's resource vault_pki_secret_backend_config_auto_tidy
// writes, and what it compares.
func TestTerraformAutoTidy(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		want := map[string]any{
			"enabled": false, "interval_duration": 43200.0, "min_startup_backoff_duration": 300.0, "max_startup_backoff_duration": 900.0,
			"tidy_cert_store": false, "tidy_revoked_certs": false, "tidy_revoked_cert_issuer_associations": false, "tidy_expired_issuers": false,
			"tidy_move_legacy_ca_bundle": false, "tidy_acme": false, "tidy_revocation_queue": false, "tidy_cross_cluster_revoked_certs": false,
			"tidy_cert_metadata": false, "tidy_cmpv2_nonce_store": false,
			"safety_buffer": 259200.0, "issuer_safety_buffer": 31536000.0, "acme_account_safety_buffer": 2592000.0, "revocation_queue_safety_buffer": 172800.0,
			"pause_duration": "0s", "maintain_stored_certificate_counts": false, "publish_stored_certificate_count_metrics": false,
		}
		read := m.Read(t, "config/auto-tidy", nil).Expect(http.StatusOK).Data
		require.Equal(t, want, read)
		require.Equal(t, want, m.Write(t, "config/auto-tidy", read).Expect(http.StatusOK).Data, "what was read can be written")

		m.Write(t, "config/auto-tidy", map[string]any{
			"enabled": true, "tidy_cert_store": true, "tidy_expired_issuers": true, "interval_duration": "1h", "safety_buffer": 172800, "pause_duration": "250ms",
			"tidy_acme": false, "tidy_revocation_queue": false, "acme_account_safety_buffer": 2592000, "revocation_queue_safety_buffer": 172800,
		}).Expect(http.StatusOK)
		want["enabled"], want["tidy_cert_store"], want["tidy_expired_issuers"] = true, true, true
		want["interval_duration"], want["safety_buffer"], want["pause_duration"] = 3600.0, 172800.0, "250ms"
		require.Equal(t, want, m.Read(t, "config/auto-tidy", nil).Expect(http.StatusOK).Data)
		m.Restart(t)
		require.Equal(t, want, m.Read(t, "config/auto-tidy", nil).Expect(http.StatusOK).Data)
		for _, body := range []map[string]any{
			{"tidy_acme": true},
			{"publish_stored_certificate_count_metrics": true},
			{"acme_account_safety_buffer": 1},
			{"interval_duration": 1},
			{"min_startup_backoff_duration": "1h"},
			{"tidy_cert_store": false, "tidy_expired_issuers": false},
		} {
			m.Write(t, "config/auto-tidy", body).Expect(http.StatusBadRequest)
		}
	})
}

func TestFsckAnswersWhatItFinds(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		issued := m.Write(t, "issue/web", map[string]any{"common_name": "a.example.com"}).Expect(http.StatusOK)
		idle := m.Read(t, "fsck", nil).Expect(http.StatusOK)
		require.Equal(t, "idle", idle.Text("state"))
		require.NotContains(t, idle.Data, "whole")
		m.Write(t, "fsck", nil).Expect(http.StatusOK)
		done := settled(t, m, "fsck", "running")
		require.Equal(t, "finished", done.Text("state"), "%v", done.Data)
		require.Equal(t, true, done.Data["whole"], "%v", done.Data["findings"])
		require.Empty(t, done.Data["findings"])
		require.GreaterOrEqual(t, done.Number("certificate_count"), int64(2))

		serial, err := cert.ParseSerial(issued.Text("serial_number"))
		require.NoError(t, err)
		key, _ := ledger.PageKey(serial)
		require.NoError(t, paths.NewStore(m.Storage).Put(t.Context(), key, []byte("half of it")))
		m.Write(t, "fsck", nil).Expect(http.StatusOK)
		done = settled(t, m, "fsck", "running")
		require.Equal(t, false, done.Data["whole"])
		require.Positive(t, done.Number("broken_count"))
		first, ok := done.Data["findings"].([]any)[0].(map[string]any)
		require.True(t, ok)
		require.Equal(t, "broken", first["severity"])
		require.Equal(t, key, first["key"])
		require.NotEmpty(t, first["problem"])
		require.Contains(t, m.Delete(t, "fsck").OK().Warnings[0], "No check")
	})
}

// What is deleted is hidden at once. Its CRL goes later: a request that began before the
// deletion may still record a certificate.
func TestDeletingAnIssuerHidesIt(t *testing.T) {
	pathstest.Each(t, func(t *testing.T, m *pathstest.Mount) {
		withRoot(t, m)
		names := func() []string {
			all, err := paths.NewStore(m.Storage).List(t.Context(), "crl-head/")
			require.NoError(t, err)
			return all
		}
		m.Read(t, "crl/rotate", nil).Expect(http.StatusOK)
		require.Len(t, names(), 1)
		id := m.Read(t, "issuer/root", nil).Expect(http.StatusOK).Text("issuer_id")
		m.Delete(t, "issuer/root").OK()
		m.Read(t, "issuer/root", nil).Expect(http.StatusInternalServerError)
		m.Read(t, "issuer/"+id, nil).Expect(http.StatusInternalServerError)
		m.List(t, "issuers", nil).Expect(http.StatusNotFound) // it was the only one
		m.Read(t, "issuer/"+id+"/crl/der", nil).Expect(http.StatusOK)
		m.Delete(t, "issuer/root").OK()
		m.Delete(t, "issuer/"+id).OK()
		m.Write(t, "root/generate/internal", map[string]any{"common_name": "Other", "issuer_name": "root"}).Expect(http.StatusOK)
	})
}
