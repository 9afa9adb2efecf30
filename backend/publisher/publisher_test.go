package publisher_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
	"vault-plugin-secrets-enterprise-pki/backend/publisher"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newService(store *kvtest.Store) *publisher.Service {
	return publisher.New(publisher.Config{Store: store, Now: func() time.Time { return noon }})
}

// web, directory and folder are settings that are taken.
func web() publisher.Settings {
	return publisher.Settings{
		Type: "http-put", URL: "https://crl.example.com/{{issuer_id}}/{{list}}", Publish: []string{"complete", "delta"}, Credential: "web-1",
	}
}

func directory() publisher.Settings {
	return publisher.Settings{
		Type: "ldap", URL: "ldap://ldap.example.com:1389", StartTLS: true, BaseDN: "cn={{issuer_name}},ou=CAs,dc=example,dc=com",
		Publish: []string{"complete", "certificate"}, Credential: "ldap",
	}
}

func folder() publisher.Settings {
	return publisher.Settings{Type: "file", Path: "/srv/pki/ca.crl", Publish: []string{"complete"}, Issuers: []string{"root"}}
}

func pemOf(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon, NotAfter: noon.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return cert.CertificatePEM(der)
}

func TestSettingsThatAreRefused(t *testing.T) {
	s := newService(kvtest.New())
	type edit = func(*publisher.Settings)
	cases := []struct {
		name  string
		of    func() publisher.Settings
		edit  edit
		field string
	}{
		{"no type", web, func(s *publisher.Settings) { s.Type = "" }, "type"},
		{"unknown type", web, func(s *publisher.Settings) { s.Type = "ftp" }, "type"},
		{"nothing to publish", web, func(s *publisher.Settings) { s.Publish = nil }, "publish"},
		{"unknown thing", web, func(s *publisher.Settings) { s.Publish = []string{"keys"} }, "publish"},
		{"no URL", web, func(s *publisher.Settings) { s.URL = "" }, "url"},
		{"ftp", web, func(s *publisher.Settings) { s.URL = "ftp://crl.example.com/{{issuer_id}}/{{list}}" }, "url"},
		{"file URL", web, func(s *publisher.Settings) { s.URL = "file:///srv/{{issuer_id}}/{{list}}" }, "url"},
		{"no host", web, func(s *publisher.Settings) { s.URL = "https:///{{issuer_id}}/{{list}}" }, "url"},
		{"password in URL", web, func(s *publisher.Settings) { s.URL = "https://u:hunter2@crl.example.com/{{issuer_id}}/{{list}}" }, "url"},
		{"fragment", web, func(s *publisher.Settings) { s.URL += "#x" }, "url"},
		{"space", web, func(s *publisher.Settings) { s.URL += " x" }, "url"},
		{"template in the host", web, func(s *publisher.Settings) { s.URL = "https://{{issuer_id}}.example.com/{{list}}" }, "url"},
		{"unknown template", web, func(s *publisher.Settings) { s.URL += "/{{issuer}}" }, "url"},
		{"lists overwrite each other", web, func(s *publisher.Settings) { s.URL = "https://crl.example.com/{{issuer_id}}" }, "url"},
		{"issuers overwrite each other", web, func(s *publisher.Settings) { s.URL = "https://crl.example.com/{{list}}" }, "url"},
		{"credential in clear", web, func(s *publisher.Settings) { s.URL = "http://crl.example.com/{{issuer_id}}/{{list}}" }, "credential"},
		{"strange credential", web, func(s *publisher.Settings) { s.Credential = "../token" }, "credential"},
		{"no certificate", web, func(s *publisher.Settings) { s.CACertificates = "x" }, "ca_certificates"},
		{"path for the web", web, func(s *publisher.Settings) { s.Path = "/srv" }, "path"},
		{"DN for the web", web, func(s *publisher.Settings) { s.BaseDN = "dc=com" }, "base_dn"},
		{"https for LDAP", directory, func(s *publisher.Settings) { s.URL = "https://ldap.example.com" }, "url"},
		{"DN in the URL", directory, func(s *publisher.Settings) { s.URL += "/dc=com" }, "url"},
		{"STARTTLS twice", directory, func(s *publisher.Settings) { s.URL = "ldaps://ldap.example.com" }, "start_tls"},
		{"credential without TLS", directory, func(s *publisher.Settings) { s.StartTLS = false }, "credential"},
		{"no DN", directory, func(s *publisher.Settings) { s.BaseDN = "" }, "base_dn"},
		{"one DN for all", directory, func(s *publisher.Settings) { s.BaseDN = "dc=example" }, "base_dn"},
		{"unknown template in the DN", directory, func(s *publisher.Settings) { s.BaseDN += ",cn={{shard}}" }, "base_dn"},
		{"shards over the complete list", directory, func(s *publisher.Settings) { s.Publish = []string{"complete", "shards"} }, "base_dn"},
		{"strange attribute", directory, func(s *publisher.Settings) { s.DeltaCRLAttribute = "a b" }, "delta_crl_attribute"},
		{"delta over the complete list", directory, func(s *publisher.Settings) {
			s.Publish, s.DeltaCRLAttribute = []string{"complete", "delta"}, "CertificateRevocationList"
		}, "base_dn"},
		{"shards over each other", directory, func(s *publisher.Settings) { s.Publish = []string{"shards"} }, "base_dn"},
		{"relative path", folder, func(s *publisher.Settings) { s.Path = "srv/ca.crl" }, "path"},
		{"path with dots", folder, func(s *publisher.Settings) { s.Path = "/srv/../etc/ca.crl" }, "path"},
		{"a folder", folder, func(s *publisher.Settings) { s.Path = "/srv/" }, "path"},
		{"shards in one file", folder, func(s *publisher.Settings) { s.Publish = []string{"shards"} }, "path"},
		{"URL for a file", folder, func(s *publisher.Settings) { s.URL = "https://example.com" }, "url"},
		{"credential for a file", folder, func(s *publisher.Settings) { s.Credential = "x" }, "credential"},
	}
	for _, c := range cases {
		settings := c.of()
		c.edit(&settings)
		_, err := s.Put(t.Context(), "name", settings)
		require.Equal(t, c.field, fault.FieldOfError(err), "%s: %v", c.name, err)
		require.NotContains(t, err.Error(), "hunter2", c.name)
	}
	names, err := s.Names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestPublishersAreKeptAndTold(t *testing.T) {
	ctx, store := t.Context(), kvtest.New()
	s := newService(store)
	trusting := web()
	trusting.CACertificates = pemOf(t) + "\n" + pemOf(t)
	versions := map[string]int64{}
	sharded := directory()
	sharded.Publish, sharded.BaseDN = []string{"complete", "shards"}, "cn={{list}},cn={{issuer_name}},dc=example,dc=com"
	_, err := s.Put(ctx, "dir", sharded)
	require.NoError(t, err, "shards have an entry each")
	for name, settings := range map[string]publisher.Settings{"web": trusting, "dir": directory(), "file": folder()} {
		version, err := s.Put(ctx, name, settings)
		require.NoError(t, err, name)
		versions[name] = version
	}
	again, err := s.Put(ctx, "web", trusting)
	require.NoError(t, err)
	require.Greater(t, again, versions["web"], "also within a millisecond")
	_, err = s.All(ctx)
	require.NoError(t, err)
	store.Reset()
	all, err := s.All(ctx)
	require.NoError(t, err)
	require.Zero(t, store.Counts().Total(), "warm")
	require.Len(t, all, 3)
	require.Equal(t, feed.PublisherLDAP{
		BaseDN: "cn={{issuer_name}},ou=CAs,dc=example,dc=com", StartTLS: true,
		CRL: "certificateRevocationList;binary", DeltaCRL: "deltaRevocationList;binary", CACertificate: "cACertificate;binary",
	}, all[0].LDAP)
	require.Equal(t, "/srv/pki/ca.crl", all[1].Path)
	require.Len(t, all[2].CACertificates, 2)
	require.Equal(t, "web-1", all[2].Credential)

	other := newService(store)
	settings, version, err := other.Get(ctx, "web")
	require.NoError(t, err)
	require.Equal(t, trusting, settings)
	require.Equal(t, again, version)
	require.NoError(t, s.Delete(ctx, "web"))
	_, _, err = other.Get(ctx, "web")
	require.NoError(t, err, "told by nobody yet")
	other.Invalidate(layout.Publisher + "web")
	_, _, err = other.Get(ctx, "web")
	require.True(t, fault.Is(err, fault.NotFound))
	require.NoError(t, s.Delete(ctx, "web"))
}

func TestPublishersAreNotWithoutEnd(t *testing.T) {
	s := newService(kvtest.New())
	for n := range publisher.MaxPublishers {
		_, err := s.Put(t.Context(), fmt.Sprint("p", n), web())
		require.NoError(t, err)
	}
	_, err := s.Put(t.Context(), "one-more", web())
	require.True(t, fault.Is(err, fault.TooLarge))
	_, err = s.Put(t.Context(), "p7", folder())
	require.NoError(t, err)
}

// report is what one edge says of one list.
func report(edge, list string, number int64, problem string) feed.Report {
	return feed.Report{Edge: edge, Items: []feed.ReportItem{{
		Issuer: "root", List: list, Number: number, SHA256: "00", At: noon.Format(time.RFC3339), Error: problem,
	}}}
}

func TestReportsReplaceEachOther(t *testing.T) {
	ctx, store := t.Context(), kvtest.New()
	s := newService(store)
	_, err := s.Put(ctx, "web", web())
	require.NoError(t, err)
	require.NoError(t, s.Report(ctx, "web", report("two", "complete", 7, "")))
	require.NoError(t, s.Report(ctx, "web", report("one", "complete", 6, "")))
	require.NoError(t, s.Report(ctx, "web", report("one", "complete", 7, "timeout")))
	store.Reset()
	require.NoError(t, s.Report(ctx, "web", report("one", "complete", 7, "timeout")))
	require.Zero(t, store.Counts().Puts, "nothing new")
	for _, service := range []*publisher.Service{s, newService(store)} {
		items, err := service.Status(ctx, "web")
		require.NoError(t, err)
		require.Len(t, items, 2)
		require.Equal(t, "one", items[0].Edge)
		require.Equal(t, "timeout", items[0].Error)
		require.Equal(t, int64(7), items[1].Number)
	}
	require.True(t, fault.Is(s.Report(ctx, "nobody", report("one", "complete", 7, "")), fault.NotFound))
	require.NoError(t, s.Delete(ctx, "web"))
	require.Empty(t, store.Dump())
}

func TestDos1_ReportsAreBounded(t *testing.T) {
	ctx, store := t.Context(), kvtest.New()
	s := newService(store)
	_, err := s.Put(ctx, "web", web())
	require.NoError(t, err)
	for n := range publisher.MaxItems + 10 {
		one := report(strings.Repeat("e", 128), fmt.Sprintf("128-%028d", n), 7, strings.Repeat("x", 512))
		one.Items[0].Issuer, one.Items[0].SHA256 = strings.Repeat("i", 64), strings.Repeat("0", 64)
		require.NoError(t, s.Report(ctx, "web", one))
	}
	items, err := s.Status(ctx, "web")
	require.NoError(t, err)
	require.Len(t, items, publisher.MaxItems)
	require.LessOrEqual(t, len(store.Dump()[layout.PublisherStatus+"web"]), kv.MaxValue)
	for name, edit := range map[string]func(*feed.Report){
		"no edge":   func(r *feed.Report) { r.Edge = "" },
		"long edge": func(r *feed.Report) { r.Edge = strings.Repeat("e", 129) },
		"long list": func(r *feed.Report) { r.Items[0].List = strings.Repeat("l", 33) },
		"long text": func(r *feed.Report) { r.Items[0].Error = strings.Repeat("l", 513) },
		"control":   func(r *feed.Report) { r.Items[0].Error = "a\nb" },
		"no time":   func(r *feed.Report) { r.Items[0].At = "yesterday" },
		"too many":  func(r *feed.Report) { r.Items = make([]feed.ReportItem, publisher.MaxItems+1) },
	} {
		bad := report("one", "complete", 7, "")
		edit(&bad)
		require.Error(t, s.Report(ctx, "web", bad), name)
	}
}

// TestCrash1_WritesAreReadAfterALostAnswer loses each storage operation in turn.
func TestCrash1_WritesAreReadAfterALostAnswer(t *testing.T) {
	ctx := t.Context()
	lost := 0
	for _, loss := range []kvtest.Loss{kvtest.LoseWrite, kvtest.LoseAnswer} {
		for n := 1; ; n++ {
			store := kvtest.New()
			s := newService(store)
			store.Break(n, loss)
			_, err := s.Put(ctx, "web", web())
			if err == nil {
				err = s.PutEdge(ctx, publisher.Edge{Organization: "Example", StalenessLimit: 60})
			}
			if err == nil {
				err = s.Report(ctx, "web", report("one", "complete", 7, ""))
			}
			if !store.Broken() {
				require.NoError(t, err)
				break
			}
			lost++
			require.ErrorIs(t, err, kvtest.ErrLost)
			other := newService(store)
			mine, err := s.All(ctx)
			require.NoError(t, err)
			theirs, err := other.All(ctx)
			require.NoError(t, err)
			require.Equal(t, theirs, mine, "memory is what storage is")
			here, err := s.Repository(ctx)
			require.NoError(t, err)
			there, err := other.Repository(ctx)
			require.NoError(t, err)
			require.Equal(t, there, here)
			if len(mine) > 0 {
				said, err := s.Status(ctx, "web")
				require.NoError(t, err)
				heard, err := other.Status(ctx, "web")
				require.NoError(t, err)
				require.Equal(t, heard, said)
			}
		}
	}
	require.GreaterOrEqual(t, lost, 10)
}
