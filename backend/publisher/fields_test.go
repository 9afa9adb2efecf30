package publisher_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/kv/kvtest"
	"vault-plugin-secrets-enterprise-pki/backend/publisher"
)

// Every setting of a publisher is told to the edges, which obey it; one that stays in
// the mount would do nothing.
func TestFields1_EverySettingIsToldToEdges(t *testing.T) {
	type edit = func(*publisher.Settings)
	all := map[string]struct {
		of   func() publisher.Settings
		edit edit
	}{
		"Type":                   {web, func(s *publisher.Settings) { *s = folder() }},
		"Issuers":                {web, func(s *publisher.Settings) { s.Issuers = []string{"root"} }},
		"Publish":                {web, func(s *publisher.Settings) { s.Publish = []string{"shards"} }},
		"URL":                    {web, func(s *publisher.Settings) { s.URL += ".crl" }},
		"Path":                   {folder, func(s *publisher.Settings) { s.Path += "1" }},
		"BaseDN":                 {directory, func(s *publisher.Settings) { s.BaseDN += ",c=DE" }},
		"StartTLS":               {directory, func(s *publisher.Settings) { s.StartTLS, s.Credential = false, "" }},
		"CRLAttribute":           {directory, func(s *publisher.Settings) { s.CRLAttribute = "authorityRevocationList;binary" }},
		"DeltaCRLAttribute":      {directory, func(s *publisher.Settings) { s.DeltaCRLAttribute = "deltaList" }},
		"CACertificateAttribute": {directory, func(s *publisher.Settings) { s.CACertificateAttribute = "caCertificate" }},
		"CACertificates":         {web, func(s *publisher.Settings) { s.CACertificates = pemOf(t) }},
		"Credential":             {web, func(s *publisher.Settings) { s.Credential = "other" }},
	}
	told := func(settings publisher.Settings) feed.Publisher {
		s := newService(kvtest.New())
		_, err := s.Put(t.Context(), "name", settings)
		require.NoError(t, err)
		publishers, err := s.All(t.Context())
		require.NoError(t, err)
		return publishers[0]
	}
	for field := range reflect.TypeFor[publisher.Settings]().Fields() {
		c, known := all[field.Name]
		require.True(t, known, "%s needs a case here", field.Name)
		changed := c.of()
		c.edit(&changed)
		require.NotEqual(t, told(c.of()), told(changed), field.Name)
	}
}
