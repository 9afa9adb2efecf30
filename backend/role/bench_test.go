package role_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/backend/role"
)

// BenchmarkSignPath is what role and profile add to one sign request.
func BenchmarkSignPath(b *testing.B) {
	config := role.DefaultConfig()
	config.AllowedDomains, config.AllowSubdomains, config.KeyType = []string{"example.com"}, true, "ec"
	r, err := role.New("web", config, nil, "")
	require.NoError(b, err)
	names := role.Ask{CommonName: "web.example.com", AltNames: []string{"api.example.com"}}
	ask := profile.Ask{PublicKey: p256(), Issuer: issuer(), TTL: time.Hour}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Authorize(role.Identity{}); err != nil {
			b.Fatal(err)
		}
		if ask.Subject, ask.Names, err = r.Names(names, role.Identity{}); err != nil {
			b.Fatal(err)
		}
		if _, err = r.Profile().Template(ask, now); err != nil {
			b.Fatal(err)
		}
	}
}
